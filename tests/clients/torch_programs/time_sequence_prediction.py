"""After PyTorch's example of that name: recurrent cells learn sine waves by L-BFGS."""

import numpy as np
import torch
import torch.optim as optim
from torch import nn


class Sequence(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.hidden = hidden
        self.lstm1 = nn.LSTMCell(1, hidden)
        self.lstm2 = nn.LSTMCell(hidden, hidden)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, inputs, future=0):
        outputs = []
        h_t, c_t, h_t2, c_t2 = (
            torch.zeros(inputs.size(0), self.hidden, dtype=torch.double) for _ in range(4)
        )
        for input_t in inputs.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        for _ in range(future):
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        return torch.cat(outputs, dim=1)


def main():
    np.random.seed(0)  # noqa: NPY002 - as the program does
    torch.manual_seed(0)
    shifts = np.random.randint(-80, 80, 6).reshape(6, 1)  # noqa: NPY002
    data = np.sin((np.arange(40) + shifts) / 1.0 / 6).astype("float64")
    inputs, target = torch.from_numpy(data[3:, :-1]), torch.from_numpy(data[3:, 1:])
    test_input, test_target = torch.from_numpy(data[:3, :-1]), torch.from_numpy(data[:3, 1:])
    seq = Sequence()
    seq.double()
    criterion = nn.MSELoss()
    optimizer = optim.LBFGS(seq.parameters(), lr=0.8, max_iter=5)
    losses = []
    for _ in range(10):

        def closure():
            optimizer.zero_grad()
            out = seq(inputs)
            loss = criterion(out, target)
            losses.append(loss.item())
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            pred = seq(test_input, future=5)
            losses.append(criterion(pred[:, :-5], test_target).item())
    return losses
