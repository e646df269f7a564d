"""Seconds per step of ByzFL on the protocol of `test_protocol_speed.py`, one thread; run by the comparison there.

Run it with the interpreter of an environment that has byzfl and torchvision: it prints one JSON object.

    python tests/speed/byzfl_protocol.py FOLDER_OF_FASHION_MNIST_IDX MODEL [STEPS]
"""

import gzip
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MODELS = {"softmax": "logreg_mnist", "mlp": "fc_mnist", "cnn": "cnn_mnist"}


class Images(Dataset):
    """What torchvision's MNIST class hands to a DataLoader: a PIL image through ToTensor and Normalize."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i].numpy(), mode="L")), int(self.labels[i])


def main(folder, model, steps=30):
    from byzfl import Client, Server

    torch.set_num_threads(1)
    torch.manual_seed(0)
    raw = gzip.decompress((Path(folder) / "train-images-idx3-ubyte.gz").read_bytes())
    images = torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(-1, 28, 28).copy())
    raw = gzip.decompress((Path(folder) / "train-labels-idx1-ubyte.gz").read_bytes())
    labels = torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=8).astype(np.int64))
    clients = []
    for part in torch.randperm(len(images)).chunk(20):
        loader = DataLoader(Images(images[part], labels[part]), batch_size=32, shuffle=True)
        clients.append(
            Client(
                {
                    "model_name": MODELS[model],
                    "device": "cpu",
                    "loss_name": "NLLLoss" if model != "softmax" else "CrossEntropyLoss",
                    "LabelFlipping": len(clients) >= 16,
                    "nb_labels": 10,
                    "momentum": 0.9,
                    "training_dataloader": loader,
                    "store_per_client_metrics": False,
                    "optimizer_name": None,
                    "learning_rate": 0.1,
                }
            )
        )
    server = Server(
        {
            "model_name": MODELS[model],
            "device": "cpu",
            "test_loader": DataLoader(Images(images[:1], labels[:1])),
            "optimizer_name": "SGD",
            "learning_rate": 0.1,
            "weight_decay": 0.0,
            "milestones": [10**9],
            "learning_rate_decay": 1.0,
            "aggregator_info": {"name": "TrMean", "parameters": {"f": 4}},
            "pre_agg_list": [],
        }
    )
    times = []
    for _ in range(int(steps) + 3):
        start = time.perf_counter()
        for client in clients:
            client.compute_gradients()
        honest = [c.get_flat_gradients_with_momentum() for c in clients[:16]]
        flipped = [c.get_flat_flipped_gradients() for c in clients[16:]]
        server.update_model_with_gradients(honest + flipped)
        for client in clients:
            client.set_model_state(server.get_dict_parameters())
        times.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in server.model.parameters())
    print(json.dumps({"model": model, "parameters": parameters, "seconds_per_step": statistics.median(times[3:])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
