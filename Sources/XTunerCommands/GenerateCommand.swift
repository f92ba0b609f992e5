package import ArgumentParser
package import XTunerConfiguration
import XTunerInput

/// `xtuner generate`: text or a chat from a model folder.
package struct GenerateCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Generates text from a Hugging Face model folder, or chats with it.",
    discussion: """
      The answer goes to standard output as it is produced, everything else to standard error. \
      With --chat the prompt is one message of the user, rendered by the model's chat template; \
      --chat without --prompt reads one message a line from standard input and keeps the \
      conversation. --temperature 0 always takes the likeliest token.

      The model is a Hugging Face folder, a run directory (its export), or the name of a model that \
      `hf download` has put into the Hub's cache on this machine.

      EXAMPLES:
        xtuner generate runs/demo/run --chat --prompt "Ben has 3 pens and buys 4."
        xtuner generate Qwen/Qwen3-0.6B --chat --prompt "What is 17 + 25?"
        xtuner generate DIR --chat --system "Answer in one sentence."
        xtuner generate DIR --prompt "1, 2, 3," --max-tokens 16 --stop "10"
      """)

  @Argument(help: "A Hugging Face model folder, a run directory, or a model's name on the Hub.")
  package var model: String

  @Option(help: "The text to continue, or with --chat the user's message.")
  package var prompt: String?

  @Flag(help: "Render messages with the chat template.")
  package var chat = false

  @Option(help: "The system message of a chat.")
  package var system: String?

  @Option(
    help: "The chat template's name (see xtuner info); taken from the model when left out.")
  package var template: String?

  @Flag(
    inversion: .prefixedNo,
    help: "Whether a chat template that knows thinking asks the model to think first.")
  package var thinking = true

  @Option(help: "Tokens to generate at most for one answer.")
  package var maxTokens = 512

  @Option(help: "Divides the logits before sampling; 0 takes the likeliest token.")
  package var temperature = 1.0

  @Option(help: "Sample from the likeliest tokens that hold this share of probability, 0 to 1.")
  package var topP = 1.0

  @Option(help: "Sample from this many likeliest tokens; 0 means all.")
  package var topK = 0

  @Option(
    help: "End the answer before this text; may be given several times.")
  package var stop: [String] = []

  @Option(help: "Seed of the sampling; the same seed gives the same text.")
  package var seed: UInt64 = 0

  @Option(help: "Number type of weights and computation: f32 or bf16.")
  package var dtype = ModelOptions.ComputeType.bf16

  @OptionGroup package var threads: ThreadOption

  @Flag(help: "Print one JSON object an answer, with token counts and the reason of its end.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .generate(self) }

  package func validate() throws {
    guard chat || prompt != nil else {
      throw ValidationError("either --prompt TEXT or --chat is needed")
    }
    guard chat || (system == nil && template == nil) else {
      throw ValidationError("--system and --template need --chat")
    }
    try OptionLimits.check("--max-tokens", maxTokens, from: 1, .tokens)
    try OptionLimits.check("--top-k", topK, from: 0, .vocabulary)
    try OptionLimits.check("--temperature", temperature, "0 or more", .temperature) { $0 >= 0 }
    try OptionLimits.check("--top-p", topP, "above 0 and at most 1", .share) {
      $0 > 0 && $0 <= 1
    }
    guard !stop.contains("") else { throw ValidationError("--stop must not be an empty text") }
  }
}
