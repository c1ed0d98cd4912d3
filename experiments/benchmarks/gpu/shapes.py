"""Model shapes by name, their config.json, and what one forward pass over them costs: the textbook counts, stated so that
a floor can be recomputed by hand."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    theta: float
    positions: int

    def config(self):
        """A Llama config.json in the transformers v4 form. No BOS: a window is L tokens of the token file as they are."""
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": self.hidden,
                "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim,
                "vocab_size": self.vocabulary, "max_position_embeddings": self.positions, "rope_theta": self.theta,
                "rope_scaling": None, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
                "attention_bias": False, "mlp_bias": False, "torch_dtype": "bfloat16"}

    def linear_weights(self):
        """Elements of the matrices every token is multiplied with, the LM head apart."""
        qkv = (self.heads + 2 * self.kv_heads) * self.head_dim * self.hidden
        output = self.heads * self.head_dim * self.hidden
        return self.layers * (qkv + output + 3 * self.intermediate * self.hidden)

    def linear_flops(self, tokens):
        """2 per multiply-add; LM head on every position included (all but one are scored)."""
        return 2.0 * tokens * (self.linear_weights() + self.vocabulary * self.hidden)

    def attention_flops(self, tokens):
        """Causal: half of 2 products of 2 N^2 heads head_dim each."""
        return 2.0 * self.layers * self.heads * self.head_dim * float(tokens) ** 2


SHAPES = {
    "llama3-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, 5e5, 8192),
    "tiny": Shape(64, 160, 2, 4, 2, 16, 320, 1e4, 128),  # for trying the scripts on a CPU
}


def shape_of(config):
    """The Shape of a config.json that this folder wrote."""
    return Shape(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"],
                 config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"], config["vocab_size"],
                 config["rope_theta"], config["max_position_embeddings"])
