"""After the documentation of ``torch.optim.swa_utils``: averaged weights, batch norm and all."""

import torch
import torch.optim as optim
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    torch.manual_seed(0)
    points = torch.randn(64, 6)
    data = TensorDataset(points, points.sin().sum(1, keepdim=True))
    loader = DataLoader(data, batch_size=16)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    loss_fn = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    swa_model = optim.swa_utils.AveragedModel(model)
    swa_start = 10
    swa_scheduler = optim.swa_utils.SWALR(optimizer, swa_lr=0.02)
    losses = []
    for epoch in range(20):
        for inputs, target in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch > swa_start:
            swa_model.update_parameters(model)
            swa_scheduler.step()
        else:
            scheduler.step()
    optim.swa_utils.update_bn(loader, swa_model)
    swa_model.eval()
    with torch.no_grad():
        losses.append(loss_fn(swa_model(points), data.tensors[1]).item())
    return losses
