from __future__ import annotations

import pytest
import torch

from soundsieve.nn.roberta import RoBERTa


@pytest.mark.parametrize("pad_id", [0, 1])
def test_equals_an_independent_implementation(pad_id: int) -> None:
    """States and pooled vector of transformers' RoBERTa, by its tensor names, with padding."""
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    ours = RoBERTa(
        vocab_size=30, width=16, layers=2, heads=4, mlp_width=24, positions=14, pad_id=pad_id, pooler=True, dropout=0.1
    ).eval()
    theirs = RobertaModel(
        RobertaConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=24,
            max_position_embeddings=14,
            type_vocab_size=1,
            pad_token_id=pad_id,
            layer_norm_eps=1e-5,
        )
    ).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ids = torch.randint(2, 30, (3, 9))
    ids[1, 5:] = pad_id
    mask = (ids != pad_id).long()
    with torch.no_grad():
        for rows in (slice(0, 3), slice(0, 1)):  # with padding and without
            states = ours(ids[rows], mask[rows])
            expected = theirs(input_ids=ids[rows], attention_mask=mask[rows])
            real = mask[rows].bool()
            torch.testing.assert_close(states[real], expected.last_hidden_state[real], atol=1e-5, rtol=1e-5)
            assert ours.pooler is not None
            torch.testing.assert_close(ours.pooler(states), expected.pooler_output, atol=1e-5, rtol=1e-5)


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    model = RoBERTa(vocab_size=9, width=8, layers=1, heads=2, mlp_width=8, positions=9, pad_id=0, dropout=0.5)
    ids = torch.tensor([[3, 4, 5]])
    mask = torch.ones_like(ids)
    assert not torch.equal(model(ids, mask), model(ids, mask))
    model.eval()
    assert torch.equal(model(ids, mask), model(ids, mask))
