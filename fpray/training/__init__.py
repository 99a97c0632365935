"""Training: one loop that every family shares, and one module of losses and steps a family. Configurations need no
torch.
"""
