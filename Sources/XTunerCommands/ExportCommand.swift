package import ArgumentParser

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
