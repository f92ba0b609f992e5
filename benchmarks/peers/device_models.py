"""The peers' models on one device, for device_step.py. Each function gives the model, where its weights are by the names
of device_step.names, a function from tokens to the loss, and the package's version."""
import sys

import torch

EPS = 1e-6
LOSS_CHUNK = 1024  # tokens, as ours


# ---- transformers


def transformers_model(s, seq, options):
    import transformers
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
    shared = dict(
        vocab_size=s["vocabulary"], hidden_size=s["hidden"], num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"], head_dim=s["head_dimension"],
        tie_word_embeddings=False, rms_norm_eps=EPS, max_position_embeddings=max(seq, 32768), use_cache=False,
        rope_parameters={"rope_type": "default", "rope_theta": s["theta"]})
    if s.get("dense_size"):
        kind, config = Qwen3ForCausalLM, Qwen3Config(intermediate_size=s["dense_size"], **shared)
    else:
        kind, config = Qwen3MoeForCausalLM, Qwen3MoeConfig(
            intermediate_size=4 * s["hidden"], num_experts=s["experts"], num_experts_per_tok=s["experts_per_token"],
            moe_intermediate_size=s["expert_size"], norm_topk_prob=True, output_router_logits=False, **shared)
        config._experts_implementation = "grouped_mm"
    config._attn_implementation = "sdpa"
    with torch.device(options.device):
        model = kind(config)
    where = {"embed": model.model.embed_tokens.weight, "norm": model.model.norm.weight, "head": model.lm_head.weight}
    for index, layer in enumerate(model.model.layers):
        a, m = layer.self_attn, layer.mlp
        parts = dict(q=a.q_proj.weight, k=a.k_proj.weight, v=a.v_proj.weight, o=a.o_proj.weight, q_norm=a.q_norm.weight,
                     k_norm=a.k_norm.weight, norm1=layer.input_layernorm.weight,
                     norm2=layer.post_attention_layernorm.weight)
        if s.get("dense_size"):
            parts |= dict(gate_up=(m.gate_proj.weight, m.up_proj.weight), down=m.down_proj.weight)
        else:
            parts |= dict(router=m.gate.weight, gate_up=m.experts.gate_up_proj, down=m.experts.down_proj)
        where |= {f"{index}.{key}": value for key, value in parts.items()}
    if options.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if options.compile:
        for layer in model.model.layers:
            layer.compile()

    def hidden(ids):
        return model.model(input_ids=ids).last_hidden_state

    def loss(ids):
        return model(input_ids=ids, labels=ids).loss

    return model, where, chunked(hidden, model.lm_head) if options.chunked else loss, transformers.__version__


# ---- torchtitan


def torchtitan_classes():
    """Its model's classes. Packages of its trainer that the model only names (data loaders, metrics) are not loaded:
    of `protocols.train_spec` the model takes two classes that live in `protocols.model`."""
    import importlib.metadata
    import importlib.util
    import pathlib
    import types
    root = pathlib.Path(importlib.util.find_spec("torchtitan").submodule_search_locations[0])
    package = types.ModuleType("torchtitan.models.qwen3")
    package.__path__ = [str(root / "models" / "qwen3")]
    sys.modules[package.__name__] = package
    from torchtitan.protocols import model as protocol
    train_spec = types.ModuleType("torchtitan.protocols.train_spec")
    train_spec.BaseModelArgs, train_spec.ModelProtocol = protocol.BaseModelArgs, protocol.ModelProtocol
    sys.modules[train_spec.__name__] = train_spec
    from torchtitan.models.moe import MoEArgs, moe
    from torchtitan.models.qwen3.model.args import Qwen3ModelArgs
    from torchtitan.models.qwen3.model.model import Qwen3Model
    return Qwen3Model, Qwen3ModelArgs, MoEArgs, moe, importlib.metadata.version("torchtitan")


def torchtitan_model(s, seq, options):
    Model, ModelArgs, MoEArgs, moe_module, version = torchtitan_classes()
    arguments = dict(
        vocab_size=s["vocabulary"], max_seq_len=seq, head_dim=s["head_dimension"], dim=s["hidden"],
        n_layers=s["layers"], n_heads=s["heads"], n_kv_heads=s["kv_heads"], qk_norm=True, norm_eps=EPS,
        rope_theta=s["theta"], hidden_dim=s.get("dense_size") or 4 * s["hidden"], attn_type="sdpa")
    if not s.get("dense_size"):
        # Its padding of groups is a Triton kernel, so that without a GPU experts are computed one by one.
        arguments |= dict(moe_enabled=True, moe_inter_dim=s["expert_size"], moe_args=MoEArgs(
            num_experts=s["experts"], num_shared_experts=0, top_k=s["experts_per_token"], score_func="softmax",
            route_norm=True, route_scale=1.0, score_before_experts=False, load_balance_coeff=None,
            use_grouped_mm=options.device == "cuda"))
    if options.device == "cpu":
        # PyTorch counts whole numbers on a GPU only.
        histogram = torch.histc
        torch.histc = lambda x, **settings: histogram(x.float(), **settings).long()
    with torch.device(options.device):
        model = Model(ModelArgs(**arguments))
    for name, buffer in model.named_buffers():
        if name.endswith("tokens_per_expert"):
            buffer.data = torch.zeros_like(buffer, dtype=torch.float32)
    where = {"embed": model.tok_embeddings.weight, "norm": model.norm.weight, "head": model.output.weight}
    for index, layer in model.layers.items():
        a = layer.attention
        parts = dict(q=a.wq.weight, k=a.wk.weight, v=a.wv.weight, o=a.wo.weight, q_norm=a.q_norm.weight,
                     k_norm=a.k_norm.weight, norm1=layer.attention_norm.weight, norm2=layer.ffn_norm.weight)
        if s.get("dense_size"):
            f = layer.feed_forward
            parts |= dict(gate_up=(f.w1.weight, f.w3.weight), down=f.w2.weight)
        else:
            e = layer.moe.experts
            parts |= dict(router=layer.moe.router.gate.weight, gate_up=(e.w1, e.w3), down=e.w2)
        where |= {f"{index}.{key}": value for key, value in parts.items()}
    cross_entropy = titan_loss
    if options.compile:
        torch._dynamo.config.capture_scalar_outputs = True
        cross_entropy = torch.compile(titan_loss)
        for block in model.layers.values():
            if not s.get("dense_size"):
                compile_children(block.moe, skip=("experts",))
                compile_children(block, skip=("moe",))
            else:
                block.compile(fullgraph=True)
        if options.device == "cuda":
            moe_module._run_experts_grouped_mm = torch.compile(moe_module._run_experts_grouped_mm, fullgraph=True)
    if options.recompute:
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
        for index, block in list(model.layers.items()):
            model.layers.register_module(index, checkpoint_wrapper(block, preserve_rng_state=False))

    def loss(ids):
        return cross_entropy(model(ids), ids)

    head = model.output
    if options.chunked:
        model.output = None
        loss = chunked(model, head)
    return torch.nn.ModuleList([model, head]), where, loss, version


def compile_children(module, skip):
    for name, child in list(module.named_children()):
        if name not in skip:
            setattr(module, name, torch.compile(child, fullgraph=True))


def titan_loss(logits, ids):
    return torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])


def chunked(hidden, head):
    """A loss that never holds all logits: neither peer has one for torch 2.11, so this is ours, for --chunked."""
    from torch.utils.checkpoint import checkpoint

    def part(x, labels):
        return torch.nn.functional.cross_entropy(head(x).float(), labels, reduction="sum")

    def loss(ids):
        x, labels = hidden(ids)[0, :-1], ids[0, 1:]
        parts = [checkpoint(part, a, b, use_reentrant=False, preserve_rng_state=False)
                 for a, b in zip(x.split(LOSS_CHUNK), labels.split(LOSS_CHUNK))]
        return torch.stack(parts).sum() / labels.numel()

    return loss
