"""Sum-product on the tree of a `hierarchy` image: marginals at every level, and the variance of a linear functional.

Evidence goes up once and probabilities come down once. With ``l_v(b)`` the log evidence below node v for its symbol b
(largest value 0), the children ``v_p`` of v, and rules as in the family,

    up     l_v(a) = sum_p log D_p(a),   D_p(a) = sum_b T_p[a, b] exp l_{v_p}(b)                   (independent)
           l_v(a) = log sum_{r of a} exp W_r,   W_r = sum_p l_{v_p}(r_p)                          (grammar)
    down   P(v_p = b) = exp l_{v_p}(b) sum_a T_p[a, b] P(v = a) / D_p(a)
           P(v_p = b) = sum_{r: r_p = b} P(v = a(r)) exp(W_r - l_v(a(r)))

Going down uses conditional probabilities, never products of many small numbers, so nothing underflows: transitions are
bounded below, and the grammar's sums stay in the log domain.

For ``f = <v, x>`` the mean and variance of its part below a node, given the node's symbol, also go up: given the
symbol (or the rule) the children are independent, so their means and variances add, and mixing over symbols (rules)
adds the variance of the means.

References
----------
J. Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, section 4.3 (propagation in trees).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.core.conditional import choose
from gahb_bench.core.images import per_pixel
from gahb_bench.families.hierarchy.law import Hierarchy

_LEAST_LOG = -300.0  # likelihoods and probabilities below e^-300 count as e^-300:
_LEAST = math.exp(_LEAST_LOG)  # nothing in double precision, but denormal numbers are ten times slower


@dataclass(frozen=True)
class Rules:
    """The rules of one level on a device.

    independent: ``transitions`` ``(4, q, q)``. grammar: ``leaves``, one-hot ``(4 q, q m)``, column r having a one at
    (p, r_p) for each position p.
    """

    symbols: int
    transitions: Tensor | None
    leaves: Tensor | None


@dataclass(frozen=True)
class Evidence:
    """What the pixels below each node say of it.

    logs : log evidence for each symbol of each node, root first, ``(n, 2^l, 2^l, q)``, largest value 0.
    conditionals : for the parents of each level, root first: independent: ``D_p(a)``, ``(n, h, w, 4, q)``;
        grammar: the law of the tuple given the symbol and the pixels below, ``(n, h, w, q, m)``.
    scale : what is added to the logs of the root to have the log evidence of all leaves, ``(n,)``; a grammar's tuples
        count 1 each in them, and 1/m in this.
    """

    logs: list[Tensor]
    conditionals: list[Tensor]
    scale: Tensor

    @property
    def total(self) -> Tensor:
        """Log evidence of all leaves, ``(n,)``: that of the root's symbols, which are uniform."""
        root = self.logs[0][:, 0, 0]
        return root.logsumexp(dim=-1) - math.log(root.shape[-1]) + self.scale


def rules_of(family: Hierarchy, device: torch.device) -> list[Rules]:
    """The rules of each level, root first."""
    if family.rules == "independent":
        return [Rules(family.symbols, torch.from_numpy(table).to(device), None) for table in family.transitions]
    made = []
    for table in family.tuples:
        tuples = torch.from_numpy(table).reshape(-1, 4)  # (q m, 4)
        one_hot = torch.nn.functional.one_hot(tuples, family.symbols).double()
        made.append(Rules(family.symbols, None, one_hot.flatten(1).T.contiguous().to(device)))
    return made


def pixel_evidence(y: Tensor, sigma: Tensor, intensities: Tensor, observed: Tensor | None = None) -> Tensor:
    """Log likelihood of each symbol at each pixel, ``(n, h, w, q)``, largest value 0: the evidence at the leaves.

    Where ``observed``, ``(1 or n, 1, h, w)`` of ones and zeros, is 0 nothing was seen, and a leaf says nothing.
    """
    log = -0.5 * ((y[:, 0, :, :, None] - intensities) / per_pixel(sigma, intensities)) ** 2
    log = log - log.amax(dim=-1, keepdim=True)
    return log if observed is None else log * observed[:, 0, :, :, None]


def upward(leaves: Tensor, rules: list[Rules]) -> Evidence:
    """The evidence below every node, from that at the leaves."""
    logs, conditionals, scale = [leaves], [], leaves.new_zeros(len(leaves))
    for rule in reversed(rules):
        log, conditional = _gather(logs[0], rule)
        largest = log.amax(dim=-1, keepdim=True)
        choices = 1 if rule.leaves is None else conditional.shape[-1]
        scale = scale + (largest - math.log(choices)).sum(dim=(1, 2, 3))
        logs.insert(0, log - largest)
        conditionals.insert(0, conditional)
    return Evidence(logs, conditionals, scale)


def downward(evidence: Evidence, rules: list[Rules]) -> list[Tensor]:
    """Posterior law of the symbol of each node, at every level, root first: ``(n, 2^l, 2^l, q)`` each."""
    marginals = [evidence.logs[0].softmax(dim=-1)]  # the root is uniform
    for below, conditional, rule in zip(evidence.logs[1:], evidence.conditionals, rules, strict=True):
        parent = marginals[-1].unsqueeze(-1)
        if rule.transitions is not None:
            law = torch.einsum("nhwpa,pab->nhwpb", parent.movedim(-1, -2) / conditional, rule.transitions)
            law = law * _likelihood(below)
        else:
            assert rule.leaves is not None
            law = ((parent * conditional).flatten(-2) @ rule.leaves.T).unflatten(-1, (4, rule.symbols))
        marginals.append(_by_child(law).clamp_(min=_LEAST))
    return marginals


def transitions_used(evidence: Evidence, rules: list[Rules]) -> list[Tensor]:
    """Expected number of times that a parent of symbol a has the child b at position p, ``(n, 4, q, q)`` a level.

    sum over parents v of P(v = a) T_p[a, b] exp l_{v_p}(b) / D_p(a);   rules=independent only
    """
    used = []
    for marginal, below, conditional, rule in zip(
        downward(evidence, rules)[:-1], evidence.logs[1:], evidence.conditionals, rules, strict=True
    ):
        assert rule.transitions is not None
        parents = marginal.unsqueeze(-2) / conditional
        used.append(torch.einsum("nhwpa,nhwpb->npab", parents, _likelihood(below)) * rule.transitions)
    return used


def sample_down(evidence: Evidence, rules: list[Rules], u: list[Tensor]) -> Tensor:
    """The symbols of the pixels of one posterior sample an image, ``(n, h, w)``, drawn from the root down.

    ``u`` are uniform numbers: one for the root, ``(n, 1, 1)``, and for each level below one a node (independent) or
    one a parent (grammar), ``(n, 2^l, 2^l)``: see `draws_of`.
    """
    symbols = choose(evidence.logs[0].exp(), u[0])
    for below, conditional, rule, own in zip(evidence.logs[1:], evidence.conditionals, rules, u[1:], strict=True):
        if rule.transitions is not None:
            likely = _likelihood(below)
            law = torch.stack([table[symbols] for table in rule.transitions], dim=-2) * likely  # (n, h, w, 4, q)
            made = choose(law, _by_parent(own[..., None])[..., 0])
        else:
            assert rule.leaves is not None
            law = conditional.gather(3, symbols[..., None, None].expand(-1, -1, -1, 1, conditional.shape[-1]))[
                ..., 0, :
            ]
            tuples = rule.leaves.unflatten(0, (4, rule.symbols)).argmax(dim=1)  # (4, q m)
            made = tuples[:, symbols * conditional.shape[-1] + choose(law, own)].movedim(0, -1)
        symbols = _by_child(made[..., None])[..., 0]
    return symbols


def draws_of(rules: list[Rules]) -> list[int]:
    """Side of the square of uniform numbers that `sample_down` takes, root first and then level by level."""
    return [1, *(2 ** (level + (rule.transitions is not None)) for level, rule in enumerate(rules))]


def functional_variance(evidence: Evidence, rules: list[Rules], values: Tensor) -> Tensor:
    """Posterior variance of ``sum over pixels of values[pixel, symbol]``, ``(n,)``; values are ``(n, h, w, q)``."""
    mean, variance = values, torch.zeros_like(values)
    for below, conditional, rule in zip(evidence.logs[:0:-1], evidence.conditionals[::-1], rules[::-1], strict=True):
        if rule.transitions is not None:
            mean, variance = _independent_moments(mean, variance, below, rule.transitions)
        else:
            mean, variance = _mixture_moments(conditional, _tuple_sums(mean, rule), _tuple_sums(variance, rule))
    _, variance = _mixture_moments(evidence.logs[0].softmax(dim=-1), mean, variance)
    return variance[:, 0, 0]


def _gather(below: Tensor, rule: Rules) -> tuple[Tensor, Tensor]:
    """Log evidence of the parents, and what `Evidence.conditionals` keeps."""
    if rule.transitions is not None:
        predicted = torch.einsum("nhwpb,pab->nhwpa", _likelihood(below), rule.transitions)
        return predicted.log().sum(dim=-2), predicted
    weights = _tuple_sums(below, rule)
    largest = weights.amax(dim=-1, keepdim=True)
    weights = (weights - largest).clamp(min=_LEAST_LOG).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    return (largest + total.log()).squeeze(-1), weights / total


def _likelihood(below: Tensor) -> Tensor:
    """Likelihood of each symbol of the four children of each parent, ``(n, h, w, 4, q)``."""
    return _by_parent(below).clamp(min=_LEAST_LOG).exp_()


def _independent_moments(mean: Tensor, variance: Tensor, below: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the functional's part below each parent given its symbol, from those of the children."""
    likelihood, mean, variance = _likelihood(below), _by_parent(mean), _by_parent(variance)
    total_mean, total_variance = torch.zeros_like(mean[..., 0, :]), torch.zeros_like(mean[..., 0, :])
    for p, table in enumerate(transitions):
        weights = table * likelihood[..., p, None, :]  # (n, h, w, a, b)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        part_mean, part_variance = _mixture_moments(weights, mean[..., p, None, :], variance[..., p, None, :])
        total_mean, total_variance = total_mean + part_mean, total_variance + part_variance
    return total_mean, total_variance


def _mixture_moments(weights: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a mixture over the last axis; a sum of positive terms, so nothing cancels."""
    mixed = (weights * mean).sum(dim=-1, keepdim=True)
    return mixed.squeeze(-1), (weights * (variance + (mean - mixed) ** 2)).sum(dim=-1)


def _tuple_sums(child: Tensor, rule: Rules) -> Tensor:
    """``sum_p child_p[r_p]`` for every tuple r, ``(n, h, w, q, m)``."""
    assert rule.leaves is not None
    return (_by_parent(child).flatten(-2) @ rule.leaves).unflatten(-1, (rule.symbols, -1))


def _by_parent(child: Tensor) -> Tensor:
    """``(n, 2h, 2w, q)`` as ``(n, h, w, 4, q)``: the four children of each parent together."""
    n, height, width, q = child.shape
    return child.reshape(n, height // 2, 2, width // 2, 2, q).transpose(2, 3).flatten(3, 4)


def _by_child(grouped: Tensor) -> Tensor:
    """The inverse of `_by_parent`."""
    n, h, w, _, q = grouped.shape
    return grouped.reshape(n, h, w, 2, 2, q).transpose(2, 3).reshape(n, 2 * h, 2 * w, q)
