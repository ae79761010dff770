"""Golden MMSEs of ``calpha`` by dense linear algebra from the definition, sharing no code with the package.

    python tests/golden/make_calpha.py > tests/golden/calpha.json

The covariance of the field is written out pixel by pixel from lambda_k ~ |k|^{-2(alpha+1)}; the MMSE is
trace(C - C (C + s^2 I)^{-1} C) / N^2.
"""

import json

import numpy as np


def dense_mmse(size, alpha, std, sigma):
    half = size // 2
    frequencies = [(a, b) for a in range(-half, size - half) for b in range(-half, size - half)]
    weight = {k: (k[0] ** 2 + k[1] ** 2) ** -(alpha + 1) if k != (0, 0) else 0.0 for k in frequencies}
    total = sum(weight.values())
    power = {k: std**2 * size**2 * w / total for k, w in weight.items()}
    power[0, 0] = power[0, 1] if (0, 1) in power else power[0, -1]
    row, column = np.divmod(np.arange(size**2), size)
    covariance = np.zeros((size**2, size**2))
    for (a, b), value in power.items():
        angle = 2 * np.pi * (a * (row[:, None] - row) + b * (column[:, None] - column)) / size
        covariance += value * np.cos(angle) / size**2
    gain = np.linalg.solve(covariance + sigma**2 * np.eye(size**2), covariance)
    return float(np.trace(covariance - covariance @ gain) / size**2)


if __name__ == "__main__":
    rows = [
        {"size": size, "alpha": alpha, "std": std, "sigma": sigma, "mmse": dense_mmse(size, alpha, std, sigma)}
        for size in (8, 9, 16)
        for alpha, std in ((1.0, 0.25), (2.0, 0.25), (3.0, 0.1))
        for sigma in (0.01, 0.1, 1.0)
    ]
    print(json.dumps(rows, indent=1))
