// A network as its configuration describes it: what bytes pass through, from left to right.

import { make } from "./dom.js";
import { count } from "./format.js";

const MAX_STRIPES = 24;

function stage(title, details, layers = 0) {
  const stripes = Array.from({ length: Math.min(layers, MAX_STRIPES) }, () => make("i"));
  const stack = layers ? [make("span", { class: "stack", "aria-hidden": true }, ...stripes)] : [];
  const times = layers ? ` × ${layers}` : "";
  return make("li", {}, make("b", {}, `${title}${times}`), ...stack, ...details.filter(Boolean).map((text) => make("span", {}, text)));
}

function attentionOf({ attention, nhead, chunk_size: chunk, overlap, position }) {
  const chunks = attention === "chunked" ? `, chunks of ${count(chunk)}${overlap ? ` + ${count(overlap)}` : ""}` : "";
  return `${attention} attention, ${nhead} heads${chunks}, ${position}`;
}

function blocksOf(network, title, layers) {
  return stage(
    title,
    [
      attentionOf(network),
      `width ${count(network.d_model)}, feed-forward ${count(network.dim_feedforward)}`,
      network.reversible && "reversible",
      network.act_threshold && `positions halt at ${network.act_threshold}`,
      network.quantized && `weights ${network.quantized}`,
    ],
    layers,
  );
}

const UNITS = { byte: "bytes", bit: "bits, nine a byte", patch: "bytes" };

function networkOf(network) {
  const { architecture, patch } = network;
  const input = stage("Input", [`${count(network.max_seq_len)} ${UNITS[architecture]} at once`, network.ngram_rows && `n-grams, ${count(network.ngram_rows)} rows a table`]);
  const output = stage("Output", ["one decision a bit, along the byte's tree", network.diffusion && `diffusion: ${network.diffusion}`]);
  if (architecture !== "patch") return [input, blocksOf(network, "Blocks", network.num_layers), output];
  return [
    input,
    stage("Encoder", ["over bytes"], patch?.encoder_layers ?? 1),
    stage("Patches", [patchesOf(patch)]),
    blocksOf(network, "Global blocks", network.num_layers),
    stage("Decoder", ["over bytes"], patch?.decoder_layers ?? 1),
    output,
  ];
}

function patchesOf(patch) {
  const { scheme = "entropy", mean_patch_size: mean, stride } = patch?.patching ?? patch ?? {};
  const size = scheme === "fixed" ? stride : mean;
  return `${scheme}${size ? `, about ${size} bytes` : ""}`;
}

/** Draws `config`, a model's whole configuration, into an ordered list. */
export function drawArchitecture(list, config) {
  const network = config.model.architecture === "mix" ? [stage("Input", ["all bytes before"])] : networkOf(config.model);
  const mixing = config.mixing ? [stage("Context mixing", [`statistics of contexts, ${count(config.mixing.memory_mib)} MiB`, "learns from each byte it reads"])] : [];
  list.replaceChildren(...network, ...mixing);
}
