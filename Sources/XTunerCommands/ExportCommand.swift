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
        xtuner export runs/demo --to demo-hf
        xtuner export runs/demo/checkpoints/step-00000100 --to hf --dtype f32
      """)

  @Argument(help: "A run directory, or a checkpoint folder in it.")
  package var checkpoint: String

  @Option(help: "The folder to write.")
  package var to: String

  @Option(help: "Number type of the weights: f32 or bf16; the run's model.dtype when left out.")
  package var dtype: ComputeType?

  @Flag(help: "Replace the folder if it exists.")
  package var overwrite = false

  @Flag(help: "Print one JSON object about what was written.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .export(self) }
}
