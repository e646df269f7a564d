"""Networks of attention: a Transformer encoder for token ids, and the vision transformer for images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flipbench.data.input_shape import InputShape
from flipbench.training.networks.sizes import (
    check_heads,
    check_layers,
    check_share,
    check_sizes,
    image_shape,
    token_shape,
)


def transformer(
    shape: InputShape,
    classes: int,
    /,
    *,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Transformer encoder over token ids, the class from the mean over them.

    Vaswani et al., "Attention Is All You Need", 2017, with normalisation before each part (Xiong et al. 2020) and
    learned positions. 110,466 parameters for texts of 80 from a vocabulary of 80 and 2 classes.

    Args:
        shape: of token ids; nothing attends to what fills up a text.
        classes: L.
        width: numbers that stand for a token.
        depth: layers.
        heads: of attention, which share the width.
        hidden: units between the two linear layers of a layer; None: 4 x width.
        dropout: probability with which outputs of attention, of the hidden units and of each part are left out.
    """
    length, vocabulary, padding = token_shape("transformer", shape)
    inner = 4 * width if hidden is None else hidden
    check_layers("transformer", "depth", depth)
    check_sizes("transformer", width=[width], heads=[heads], hidden=[inner])
    check_heads("transformer", width, heads)
    check_share("transformer", "dropout", dropout)
    layers = nn.ModuleList(EncoderLayer(width, heads, inner, dropout) for _ in range(depth))
    return Encoder(nn.Embedding(vocabulary, width, padding_idx=padding), length, layers, padding, classes)


def vit(
    shape: InputShape,
    classes: int,
    /,
    *,
    patch: int = 4,
    dim: int = 64,
    depth: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Vision transformer: patches of an image as tokens, the class from a token of its own.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. ``vit(patch=16, dim=768, depth=12, heads=12)`` for
    3x224x224 and 1000 classes is ViT-B/16, 86,567,656 parameters; as below, for 3x32x32 and 10 classes, 208,074.

    Args:
        shape: (channels, height, width), sides that the patch divides.
        classes: L.
        patch: pixels of its side.
        dim: numbers that stand for a patch.
        depth: layers.
        heads: of attention, which share ``dim``.
        hidden: units between the two linear layers of a layer; None: 4 x dim.
        dropout: as of `transformer`.
    """
    channels, height, width = image_shape("vit", shape)
    inner = 4 * dim if hidden is None else hidden
    check_layers("vit", "depth", depth)
    check_sizes("vit", patch=[patch], dim=[dim], heads=[heads], hidden=[inner])
    check_heads("vit", dim, heads)
    check_share("vit", "dropout", dropout)
    if height % patch or width % patch:
        raise ValueError(f"vit needs a patch that divides the sides of the images, got {patch} and {height}x{width}")
    layers = nn.ModuleList(EncoderLayer(dim, heads, inner, dropout) for _ in range(depth))
    return Vision(nn.Conv2d(channels, dim, patch, patch), (height // patch) * (width // patch), layers, classes)


class EncoderLayer(nn.Module):
    """Attention and two linear layers, each behind a normalisation and with a shortcut around it.

    Args:
        width: numbers of a token.
        heads: of attention.
        hidden: units between the linear layers.
        dropout: probability.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.asked, self.answered = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """``(batch, tokens, width)`` to the same shape; ``hidden`` ``(batch, tokens)`` is true of what is not read."""
        x = x + self.dropout(self.attention(self.first_norm(x), hidden))
        between = self.dropout(self.activation(self.wide(self.second_norm(x))))
        y: Tensor = x + self.dropout(self.narrow(between))
        return y

    def attention(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """Scaled dot-product attention, of plain products that `torch.func.vmap` knows."""
        batch, tokens, width = x.shape
        split = self.asked(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = split[0], split[1], split[2]  # (batch, heads, tokens, width / heads)
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5
        if hidden is not None:
            scores = scores.masked_fill(hidden.view(batch, 1, 1, tokens), -1e9)
        shares = self.dropout(torch.softmax(scores, 3))
        mixed: Tensor = self.answered((shares @ value).transpose(1, 2).reshape(batch, tokens, width))
        return mixed


class Encoder(nn.Module):
    """Token ids through layers to a class.

    Args:
        embedding: of the tokens.
        length: of a text.
        layers: of attention.
        padding: the id that fills up a text; None: there is none.
        classes: L.
    """

    def __init__(
        self, embedding: nn.Embedding, length: int, layers: nn.ModuleList, padding: int | None, classes: int
    ) -> None:
        super().__init__()
        width = embedding.embedding_dim
        self.embedding, self.layers, self.padding = embedding, layers, padding
        self.places = nn.Parameter(0.02 * torch.randn(1, length, width))
        self.norm, self.last = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, length)`` ids to logits ``(batch, L)``."""
        x = self.embedding(tokens) + self.places
        hidden = None if self.padding is None else tokens == self.padding
        for layer in self.layers:
            x = layer(x, hidden)
        x = self.norm(x)
        if hidden is None:
            mean = x.mean(1)
        else:
            real = (~hidden).to(x.dtype).unsqueeze(2)
            mean = (x * real).sum(1) / real.sum(1).clamp(min=1.0)
        logits: Tensor = self.last(mean)
        return logits


class Vision(nn.Module):
    """Images through layers to a class.

    Args:
        patches: convolution that makes a token of each patch.
        number: of patches.
        layers: of attention.
        classes: L.
    """

    def __init__(self, patches: nn.Conv2d, number: int, layers: nn.ModuleList, classes: int) -> None:
        super().__init__()
        width = patches.out_channels
        self.patches, self.layers = patches, layers
        self.own = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, number + 1, width))
        self.norm, self.last = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to logits ``(batch, L)``."""
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.own.expand(x.shape[0], -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.last(self.norm(x)[:, 0])
        return logits
