// Between the fields of a form, which are texts, and a request. The JSON Schema says what each field takes.
export const GROUPS = {
  model: ["model_path", "model_type", "template", "train_type", "torch_dtype", "target_modules", "lora_rank", "lora_alpha"],
  data: ["datasets", "data_path", "val_datasets", "split_dataset_ratio", "max_length", "max_pixels", "dataset_num_proc", "system"],
  training: [
    "output_dir", "num_epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "vit_lr", "aligner_lr",
    "warmup_ratio", "freeze_vit", "freeze_aligner", "freeze_llm", "deepspeed",
  ],
  steps: ["logging_steps", "eval_steps", "save_steps", "save_total_limit", "save_only_model", "auto_export"],
  devices: ["gpu_count", "gpu_id", "gpu_memory_mib", "gpu_name", "priority", "after", "after_policy", "not_before"],
  more: ["labels", "max_retries", "timeout_seconds"],
};
export const FIRST = ["model_path", "datasets", "data_path", "output_dir"];
const HIDDEN = new Set(["training_type", "start"]);

// What kind of input a property wants.
export function kindOf(property) {
  const parts = (property.anyOf ?? property.oneOf ?? [property]).filter((part) => part.type !== "null");
  const types = new Set(parts.map((part) => part.type));
  if (parts.length === 1 && parts[0].enum) return "choice";
  if (types.has("boolean") && types.size === 1) return "boolean";
  if (types.has("array")) return "lines";
  if (types.has("object") && types.size === 1) {
    const value = parts[0].additionalProperties;
    return value?.type === "string" ? "pairs" : "json";
  }
  if (types.size === 1 && (types.has("integer") || types.has("number"))) return "number";
  if (types.has("string")) return "text";
  return "json";
}

export const choicesOf = (property) => (property.anyOf ?? [property]).find((part) => part.enum).enum;

// Names of all fields by group; what a later version adds stands in the last one.
export function grouped(schema) {
  const known = new Set(Object.values(GROUPS).flat());
  const there = Object.keys(schema.properties).filter((name) => !HIDDEN.has(name));
  return Object.fromEntries(
    Object.entries(GROUPS).map(([group, names]) => [
      group,
      [...names.filter((name) => there.includes(name)), ...(group === "more" ? there.filter((name) => !known.has(name)) : [])],
    ]),
  );
}

export function toText(value, kind) {
  if (value === null || value === undefined) return "";
  if (kind === "lines") return (Array.isArray(value) ? value : [value]).join("\n");
  if (kind === "pairs") return Object.entries(value).map(([name, one]) => `${name}=${one}`).join("\n");
  if (kind === "json") return JSON.stringify(value);
  return String(value);
}

// The value of a text; throws where the text can't be one.
function toValue(text, kind) {
  if (kind === "lines") return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (kind === "pairs")
    return Object.fromEntries(
      text.split("\n").map((line) => line.trim()).filter(Boolean)
        .map((line) => (line.includes("=") ? [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] : [line, ""])),
    );
  if (kind === "json") return JSON.parse(text);
  if (kind === "boolean") return text === "true";
  if (kind === "number") return Number.isNaN(Number(text)) ? text : Number(text);
  return text;
}

// The request that the fields say, and the names of those that say nothing a request could hold.
export function toRequest(texts, schema) {
  const request = {};
  const wrong = {};
  for (const [name, text] of Object.entries(texts)) {
    if (text.trim() === "" || !(name in schema.properties)) continue;
    try {
      request[name] = toValue(text.trim(), kindOf(schema.properties[name]));
    } catch (error) {
      wrong[name] = String(error.message);
    }
  }
  return { request, wrong };
}

// The fields of a request, or of another job's document: what is not as the defaults have it.
export function toTexts(request, schema) {
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  return Object.fromEntries(
    Object.entries(request)
      .filter(([name, value]) => name in schema.properties && !HIDDEN.has(name) && value !== null)
      .filter(([name, value]) => !same(value, schema.properties[name].default))
      .map(([name, value]) => [name, toText(value, kindOf(schema.properties[name]))]),
  );
}
