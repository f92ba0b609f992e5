package import ArgumentParser
import XTunerInput

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
  package var dtype = ComputeType.float32

  @Option(help: "CPU threads; all cores when left out.")
  package var threads: Int?

  @Flag(help: "Print one JSON object: rows, length, loss.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .probe(self) }

  package func validate() throws {
    try OptionLimits.check("--threads", threads, from: 1, .threads)
  }
}
