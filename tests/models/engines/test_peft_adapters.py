"""Each adapter answers as it does alone, the base as if there were none, and what cannot is refused every time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import DecodedAnswer, Query, answer
from harness.models.engines.transformers import TransformersEngine
from tests.models.engines.plain import PROMPTS, generated
from tests.train import tiny

pytestmark = [
    pytest.mark.local,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]
Make = Callable[..., str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"), texts=PROMPTS)


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Make:
    """Write an adapter with weights that change every answer, of a base's copy with so many more tokens."""

    def make(kind: str = "LoraConfig", *, more: int = 0, of: Path = base, **settings: Any) -> str:
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        number = len(list(tmp_path.iterdir()))
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(of)
        if more:
            model.resize_token_embeddings(model.config.vocab_size + more)
        made = peft.get_peft_model(model, getattr(peft, kind)(task_type="CAUSAL_LM", **settings))
        for weight in made.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.3)
        folder = tmp_path / f"adapter{number}"
        made.save_pretrained(folder)
        return str(folder)

    return make


def said(engine: TransformersEngine, adapter: str | None, **changes: Any) -> list[str]:
    found = answer(engine, adapter, [Query(prompt, 12, **changes) for prompt in PROMPTS])
    return [each.text if isinstance(each, DecodedAnswer) else repr(each) for each in found]


LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
OTHERS = {
    "saved modules": {"modules_to_save": ["lm_head"], **LORA},
    "saved embeddings": {"modules_to_save": ["embed_tokens", "lm_head"], **LORA},
    "trained tokens": {"trainable_token_indices": list(range(40, 400)), **LORA},
    "biases of its layers": {"bias": "lora_only", **LORA},
    "all layers": {"r": 4, "target_modules": "all-linear"},
    "another kind": {
        "kind": "IA3Config",
        "target_modules": ["k_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
    },
}


@pytest.mark.parametrize("name", OTHERS)
def test_each_answers_as_alone_and_the_base_as_if_there_were_none(name: str, base: Path, adapter: Make) -> None:
    plain, other = adapter(**LORA), adapter(**OTHERS[name])
    alone = {one: generated(base, one, PROMPTS, 12) for one in (None, plain, other)}
    assert len({tuple(texts) for texts in alone.values()}) == 3
    for order in ((other, None, plain, other, None), (plain, other, None, plain)):
        engine = TransformersEngine(str(base))
        for one in order:
            assert said(engine, one) == alone[one], (name, one)


def spoilt(folder: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    from safetensors.torch import load_file, save_file

    path = Path(folder, "adapter_model.safetensors")
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: dict(list(weights.items())[:3]), "of 8 weights 5 are missing and 0 fit nothing"),
        (lambda weights: {name.replace("layers.1", "layers.7"): weight for name, weight in weights.items()},
         "of 8 weights 4 are missing and 4 fit nothing"),
        (lambda weights: weights | {"base_model.layers.9.mlp.lora_A.weight": next(iter(weights.values())).clone()},
         "of 8 weights 0 are missing and 1 fit nothing"),
        (lambda weights: {name: weight.repeat(2, 2) for name, weight in weights.items()}, "size mismatch|Error"),
        (lambda weights: {}, "of 8 weights 8 are missing"),
    ],
    ids=["in part", "other layers", "more layers", "another width", "nothing"],
)  # fmt: skip
def test_one_that_does_not_fit_is_an_error_every_time(
    change: Any, reason: str, first: bool, base: Path, adapter: Make
) -> None:
    good = adapter(**LORA)
    bad = spoilt(adapter(**LORA), change)
    engine = TransformersEngine(str(base))
    if not first:
        said(engine, good)
    for _ in range(3):
        with pytest.raises(UserError, match=rf"the adapter '{bad}' cannot be loaded: .*({reason})"):
            said(engine, bad)
    for one in (good, None):
        assert said(engine, one) == generated(base, one, PROMPTS, 12)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("PromptTuningConfig", {"num_virtual_tokens": 4}),
        ("PrefixTuningConfig", {"num_virtual_tokens": 4}),
        ("PromptEncoderConfig", {"num_virtual_tokens": 4}),
    ],
)
def test_kinds_that_read_tokens_of_their_own_are_refused(
    kind: str, settings: dict[str, Any], base: Path, adapter: Make
) -> None:
    bad = adapter(kind, **settings)
    engine = TransformersEngine(str(base))
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"cannot be loaded: it is of the kind .*, which is not served in this process"
        ):
            said(engine, bad)
    assert said(engine, None) == generated(base, None, PROMPTS, 12)


def test_an_adapters_own_tokens_and_chat_template_are_used_and_no_other_has_them(base: Path, adapter: Make) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(base)
    words.add_tokens(["<|ask|>", "<|reply|>"])
    words.chat_template = "<|ask|>{{ messages[0].content }}<|reply|>"
    own = adapter(more=2, modules_to_save=["embed_tokens", "lm_head"], **LORA)
    words.save_pretrained(own)
    engine = TransformersEngine(str(base))
    assert all(len(text) > 0 for text in said(engine, own, chat=True))
    query = Query("Hello", 4, chat=True)
    engine.use(own)
    read = engine.encode(query)
    assert (read[0], read[-1]) == (len(words) - 2, len(words) - 1)
    engine.use(None)
    with pytest.raises(UserError, match="no chat template"):
        engine.encode(query)
    assert said(engine, None) == generated(base, None, PROMPTS, 12)


def test_a_chat_template_alone_is_used_too(base: Path, adapter: Make) -> None:
    own = adapter(**LORA)
    Path(own, "chat_template.jinja").write_text("[{{ messages[0].content }}]")
    engine = TransformersEngine(str(base))
    engine.use(own)
    assert engine.encode(Query("Hello", 4, chat=True)) == engine.encode(Query("[Hello]", 4))


def test_the_ends_of_the_model_and_of_the_tokenizer_both_end_an_answer(base: Path, tmp_path: Path) -> None:
    """Training teaches the tokenizer's, while a chat model's settings often name another."""
    shutil.copytree(base, tmp_path / "base")
    path = tmp_path / "base" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [5, 7]}))
    assert TransformersEngine(str(tmp_path / "base")).end == {2, 5, 7}


def assert_as_generate_or_refused(folder: Path) -> None:
    try:
        engine = TransformersEngine(str(folder))
    except UserError as error:
        refused = str(error)
    else:
        assert said(engine, None) == generated(folder, None, PROMPTS, 12)
        return
    assert f"the model '{folder}' cannot be run in this process" in refused


def test_a_model_with_a_state_is_answered_as_generate_does_or_refused(base: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    folder = tmp_path / "mamba"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=8, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, initializer_range=0.5,
    )  # fmt: skip
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    assert_as_generate_or_refused(folder)


@pytest.mark.parametrize("kind", ["Mpt", "Bloom", "GPT2", "GPTNeoX", "Falcon", "OPT"])
def test_models_of_every_kind_are_answered_as_generate_does_or_refused(kind: str, base: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    folder = tmp_path / kind
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    small = {
        "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
        "Bloom": {"hidden_size": 32, "n_head": 4, "n_layer": 2},
        "GPT2": {"n_embd": 32, "n_head": 4, "n_layer": 2},
        "GPTNeoX": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64},
        "Falcon": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "alibi": True},
        "OPT": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64,
                "word_embed_proj_dim": 32},
    }[kind]  # fmt: skip
    tokens = {"vocab_size": 400, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3}
    config = getattr(transformers, f"{kind}Config")(**small, **tokens)
    getattr(transformers, f"{kind}{'LMHeadModel' if kind == 'GPT2' else 'ForCausalLM'}")(config).save_pretrained(folder)
    assert_as_generate_or_refused(folder)
