"""Recurrent networks for token ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flipbench.data.input_shape import InputShape
from flipbench.training.networks.sizes import check_layers, check_share, check_sizes, token_shape


def lstm(
    shape: InputShape,
    classes: int,
    /,
    *,
    embedding: int = 8,
    hidden: int = 256,
    layers: int = 2,
    dropout: float = 0.0,
) -> nn.Module:
    """LSTM over token ids, the class from its state behind the last one.

    As below it is the network for Shakespeare's plays of McMahan et al., "Communication-Efficient Learning of Deep
    Networks from Decentralized Data", AISTATS 2017, and of LEAF (Caldas et al. 2018); the cell is that of Hochreiter &
    Schmidhuber 1997. 819,920 parameters for a vocabulary of 80 and 80 classes (PyTorch's cell has two biases a gate).

    Args:
        shape: of token ids; what fills up a text is not read.
        classes: L.
        embedding: numbers that stand for a token.
        hidden: of the state of each layer.
        layers: one above the other.
        dropout: probability with which outputs of all layers but the last, and the last state, are left out.
    """
    _, vocabulary, padding = token_shape("lstm", shape)
    check_layers("lstm", "layers", layers)
    check_sizes("lstm", embedding=[embedding], hidden=[hidden])
    check_share("lstm", "dropout", dropout)
    return Lstm(vocabulary, padding, embedding, hidden, layers, dropout, classes)


class Lstm(nn.Module):
    """Embedding, LSTM layers and a linear layer; sizes as of `lstm`."""

    def __init__(
        self,
        vocabulary: int,
        padding: int | None,
        embedding: int,
        hidden: int,
        layers: int,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=padding)
        inputs = [embedding, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for size in inputs)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, length)`` ids to logits ``(batch, L)``."""
        x = self.embedding(tokens)
        for layer in self.layers[:-1]:
            x = self.dropout(layer(x)[0])
        x = self.layers[-1](x)[0]  # (batch, length, hidden)
        ends = x[torch.arange(len(x), device=x.device), _ends(tokens, self.padding)]
        logits: Tensor = self.last(self.dropout(ends))
        return logits


def _ends(tokens: Tensor, padding: int | None) -> Tensor:
    """``(batch,)``, the place of the last token that is no padding; 0 where there is none."""
    length = tokens.shape[1]
    if padding is None:
        return torch.full((len(tokens),), length - 1, device=tokens.device)
    places = torch.arange(length, device=tokens.device)
    return ((tokens != padding) * places).amax(1)
