package import ArgumentParser
package import XTunerConfiguration

/// `xtuner export`: a checkpoint as a Hugging Face folder.
package struct ExportCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Writes a checkpoint as a Hugging Face folder.",
    discussion: """
      The checkpoint is a run directory (its newest complete checkpoint is taken) or one folder \
      of its checkpoints/. The run's config.yaml names the model and the tokenizer. The result \
      holds safetensors, config.json and the tokenizer, and loads in transformers.

      EXAMPLES:
        xtuner export runs/demo/run --to demo-hf
        xtuner export runs/demo/run/checkpoints/step-00000366 --to hf --dtype f32
        xtuner export runs/demo/run --to demo-fp8 --dtype fp8
      """)

  @Argument(help: "A run directory, or a checkpoint folder in it.")
  package var checkpoint: String

  @Option(help: "The folder to write.")
  package var to: String

  @Option(
    help: """
      Number type of the weights: f32, bf16 or fp8 (matrices in blocks of 128 x 128 with scales, \
      the rest bf16); the run's model.dtype when left out.
      """)
  package var dtype: ExportType?

  @Flag(help: "Replace the folder if it exists.")
  package var overwrite = false

  @Flag(help: "Print one JSON object about what was written.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .export(self) }
}

/// `xtuner probe`: logits, loss and gradients for given tokens.
package struct ProbeCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "probe",
    abstract: "Writes the logits, loss and gradients of a model for given tokens.",
    discussion: """
      The input holds input_ids [B,S] int64 and optionally labels [B,S] int64 (-100 carries no \
      loss; not shifted). Each row is a sample of its own. The output holds logits [B,S,V] f32, \
      with labels also loss (mean over the tokens with a loss, f32), and with --grads the \
      gradient of every parameter under its Hugging Face name, f32.

      EXAMPLES:
        xtuner probe DIR --tokens in.safetensors --out out.safetensors
        xtuner probe DIR --tokens in.safetensors --out out.safetensors --grads
      """)

  @Argument(help: "A Hugging Face model folder.")
  package var model: String

  @Option(help: "The safetensors file with input_ids and labels.")
  package var tokens: String

  @Option(help: "The safetensors file to write.")
  package var out: String

  @Flag(help: "Also write gradients; the input must have labels.")
  package var grads = false

  @Option(help: "Number type of weights and computation: f32 or bf16.")
  package var dtype = ModelOptions.ComputeType.f32

  @OptionGroup package var threads: ThreadOption

  @Flag(help: "Print one JSON object: rows, length, loss.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .probe(self) }
}

/// `xtuner info`: devices, libraries, versions.
package struct InfoCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Prints devices, libraries, versions and what this program knows by name.",
    discussion: """
      EXAMPLES:
        xtuner info
        xtuner info --json
      """)

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .info(self) }
}
