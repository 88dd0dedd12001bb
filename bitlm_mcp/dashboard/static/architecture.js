// A network as its configuration describes it: what bytes pass through, from left to right.

import { make } from "./dom.js";
import { count } from "./format.js";

const MAX_STRIPES = 24;

function stage(title, details, layers = 0) {
  const stripes = Array.from({ length: Math.min(layers, MAX_STRIPES) }, () => make("i"));
  const stack = layers ? [make("span", { class: "stack", "aria-hidden": true }, ...stripes)] : [];
  const lines = details.filter(Boolean).map((text) => make("span", {}, text));
  return make("li", {}, make("b", {}, layers ? `${title} × ${layers}` : title), ...stack, ...lines);
}

function attentionOf({ attention, nhead, chunk_size: chunk, overlap, position }) {
  const chunks = attention === "chunked" ? `, chunks of ${count(chunk)}${overlap ? ` + ${count(overlap)}` : ""}` : "";
  return `${attention} attention, ${nhead} heads${chunks}, ${position}`;
}

function blocksOf(network, title) {
  return stage(
    title,
    [
      attentionOf(network),
      `width ${count(network.d_model)}, feed-forward ${count(network.dim_feedforward)}`,
      network.reversible && "reversible",
      network.act_threshold && `positions halt at ${network.act_threshold}`,
      network.quantized && `weights ${network.quantized}`,
    ],
    network.num_layers,
  );
}

function networkOf(network) {
  const { architecture, patch, ngram_rows: rows } = network;
  const unit = architecture === "bit" ? "bits, nine a byte," : "bytes";
  const input = stage("Input", [`${count(network.max_seq_len)} ${unit} at once`, rows && `n-grams, ${count(rows)} rows a table`]);
  const diffusion = network.diffusion && `diffusion: ${network.diffusion}`;
  const output = stage("Output", ["a decision a bit, along the byte's tree", diffusion]);
  if (architecture !== "patch") return [input, blocksOf(network, "Blocks"), output];
  const width = `over bytes, width ${count(patch.local_width)}`;
  return [
    input,
    stage("Encoder", [width], patch.encoder_layers),
    stage("Patches", [patchesOf(patch.patching)]),
    blocksOf(network, "Global blocks"),
    stage("Decoder", [width], patch.decoder_layers),
    output,
  ];
}

const patchesOf = ({ scheme, mean_patch_size: mean, stride }) => `${scheme}, about ${scheme === "fixed" ? stride : mean} bytes`;

/** Draws `config`, a model's whole configuration, into an ordered list. */
export function drawArchitecture(list, { model, mixing }) {
  const network = model.architecture === "mix" ? [stage("Input", ["all bytes before"])] : networkOf(model);
  const facts = () => [`statistics, ${count(mixing.memory_mib)} MiB`, "learns from each byte it reads"];
  list.replaceChildren(...network, ...(mixing ? [stage("Context mixing", facts())] : []));
}
