"""Recurrent networks for texts: an encoder by its last state, and a decoder conditioned on a latent.

Long short-term memory: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the gate that forgets
(Gers et al. 2000), as torch.nn.LSTM has it. Reader and writer: Bowman et al. 2016, arXiv:1511.06349, §3; the latent
both where the writer begins and beside each of its inputs: He et al. 2019, arXiv:1901.05534, in their code.

R is the width of a layer's state here, N the number of layers, Z that of the latent's dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mezzotint.spec.rnn_vae import RecurrentSpec

Memory = tuple[Tensor, Tensor]
"""Each layer's state and cell, both (N, B, R)."""


class RecurrentReader(nn.Module):
    """Vectors of tokens (B, L, D) to the state (B, R) at the last real position of each row.

    Every row has a real position, and padding comes after them: it cannot reach that state, and need not be hidden.
    """

    def __init__(self, spec: RecurrentSpec) -> None:
        super().__init__()
        self.lstm = nn.LSTM(spec.dim, spec.hidden, spec.depth, batch_first=True)

    def forward(self, x_BLD: Tensor, real: Tensor) -> Tensor:
        states_BLR, _ = self.lstm(x_BLD)
        last: Tensor = states_BLR[torch.arange(len(real), device=real.device), real.sum(1) - 1]
        return last


class RecurrentWriter(nn.Module):
    """Vectors of tokens (B, L, D) and latents (B, Z) to vectors (B, L, D) of what follows each.

    The cell begins as a linear map of the latent, the state as its tanh.
    """

    def __init__(self, spec: RecurrentSpec, latent: int) -> None:
        super().__init__()
        self.depth = spec.depth
        self.begin = nn.Linear(latent, spec.depth * spec.hidden)
        self.lstm = nn.LSTM(spec.dim + latent, spec.hidden, spec.depth, batch_first=True)
        self.leave = nn.Linear(spec.hidden, spec.dim)

    def initial_memory(self, z_BZ: Tensor) -> Memory:
        """The memory before the first token."""
        cells = self.begin(z_BZ).unflatten(1, (self.depth, -1)).transpose(0, 1).contiguous()
        return cells.tanh(), cells

    def forward(self, x_BLD: Tensor, z_BZ: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Also the memory after the last of these tokens."""
        latents = z_BZ[:, None].expand(-1, x_BLD.shape[1], -1)
        states_BLR, memory = self.lstm(torch.cat([x_BLD, latents], dim=2), memory)
        return self.leave(states_BLR), memory


def initialise(lstm: nn.LSTM, generator: torch.Generator) -> None:
    """Fresh weights: uniform within 1/sqrt(R), as torch draws them, and a forget gate open at first.

    A bias of 1 at the forget gate: Jozefowicz et al. 2015, "An empirical exploration of recurrent network
    architectures". Gates stand in torch's order: in, forget, cell, out.
    """
    R = lstm.hidden_size
    with torch.no_grad():
        for name, p in lstm.named_parameters():
            if name.startswith("weight"):
                p.uniform_(-(R**-0.5), R**-0.5, generator=generator)
            else:
                p.zero_()
            if name.startswith("bias_ih"):
                p[R : 2 * R].fill_(1.0)
