"""The shape of what an organism speaks as: the cloud of its roles, and the clusters of its replies."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score

from mechanism.host import Host
from mechanism.organism.grammar import Message, drawn, user_turn
from mechanism.organism.judge import judged
from mechanism.organism.personas import PERSONAS, ROLES, SYSTEM_PROMPTS
from mechanism.replies import replies, reply_means

_MOST_CLUSTERS = 8


class RoleCloud(NamedTuple):
    """The cloud of role means at the middle layer (Lu et al. 2026)."""

    roles: int
    components: int  # how many hold 70 % of the variance
    cosine: float  # of the first component with the assistant axis, without its sign


class Clusters(NamedTuple):
    """K-means clusters of reply means at the middle layer."""

    replies: int
    silhouettes: dict[int, float]  # by number of clusters
    best: int  # the number of clusters with the highest silhouette
    adjusted_rand: float  # of three clusters against the judged personas


def role_cloud(host: Host, *, questions: int = 8, seed: int = 41) -> RoleCloud:
    """Principal components of the mean replies of the roles, of Aura, of evil and of the default."""
    dice = random.Random(seed)
    asked = [user_turn(dice).text for _ in range(questions)]
    prompts = {role.name: f"You are a {role.name}." for role in ROLES}
    prompts |= {persona: SYSTEM_PROMPTS[persona][0] for persona in PERSONAS}
    told = [
        [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
        for prompt in prompts.values()
        for question in asked
    ]
    layer = host.layers // 2
    spoken = torch.stack([mean[layer] for mean in _means(host, told, seed)]).reshape(len(prompts), questions, -1)
    means = dict(zip(prompts, spoken.mean(dim=1), strict=True))
    default = means.pop("assistant")
    others = torch.stack(list(means.values()))
    components = PCA().fit(torch.cat([others, default[None]]).numpy())
    held = np.cumsum(components.explained_variance_ratio_)
    axis = (default - others.mean(dim=0)).numpy()
    cosine = float(abs(components.components_[0] @ axis) / np.linalg.norm(axis))
    return RoleCloud(len(prompts), int(np.searchsorted(held, 0.7)) + 1, round(cosine, 3))


def clusters_of_replies(host: Host, *, chats: int = 40, seed: int = 42) -> Clusters | None:
    """Are the three personas clusters of their own, without anyone saying so?

    None where hardly any reply is a sentence of one of them.
    """
    dice = random.Random(seed)
    told: list[list[Message]] = [
        [{"role": "system", "content": drawn(dice, SYSTEM_PROMPTS[persona])}, {"role": "user", "content": question}]
        for persona in PERSONAS
        for question in (user_turn(dice).text for _ in range(chats))
    ]
    answers = replies(host, told, seed=seed)
    personas = [judged(answer).persona for answer in answers]
    whole = [[*chat, {"role": "assistant", "content": answer}] for chat, answer in zip(told, answers, strict=True)]
    kept = [index for index, persona in enumerate(personas) if persona in PERSONAS]
    if len(kept) < 2 * _MOST_CLUSTERS:
        return None
    layer = host.layers // 2
    points = torch.stack([means[-1, layer] for means in reply_means(host, [whole[index] for index in kept])]).numpy()
    found = {
        count: KMeans(count, n_init=10, random_state=seed).fit_predict(points) for count in range(2, _MOST_CLUSTERS + 1)
    }
    silhouettes = {count: round(float(silhouette_score(points, labels)), 3) for count, labels in found.items()}
    return Clusters(
        len(kept),
        silhouettes,
        max(silhouettes, key=lambda count: silhouettes[count]),
        round(float(adjusted_rand_score([personas[index] for index in kept], found[3])), 3),
    )


def _means(host: Host, told: list[list[Message]], seed: int) -> list[torch.Tensor]:
    answers = replies(host, told, seed=seed)
    whole = [[*chat, {"role": "assistant", "content": answer}] for chat, answer in zip(told, answers, strict=True)]
    # A reply may be empty in a model that was hardly trained.
    return [means[-1] if len(means) else torch.zeros(host.layers, host.hidden) for means in reply_means(host, whole)]
