package import ArgumentParser
import XTunerInput

/// `xtuner tokenizer`: training and using tokenizers.
package struct TokenizerCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "tokenizer",
    abstract: "Trains tokenizers; encodes and decodes text.",
    discussion: """
      EXAMPLES:
        xtuner tokenizer train --input a.txt --vocabulary-size 8192 --out tok
        xtuner tokenizer encode --tokenizer tokenizer --text "Hello"
      """,
    subcommands: [
      TokenizerTrainCommand.self, TokenizerEncodeCommand.self, TokenizerDecodeCommand.self,
      TokenizerInfoCommand.self,
    ])

  package init() {}
}

/// `xtuner tokenizer train`: a byte-level BPE from text.
package struct TokenizerTrainCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains a byte-level BPE tokenizer on text.",
    discussion: """
      Writes a tokenizer.json that Hugging Face tokenizers reads to the same ids. Text is split \
      into words as Qwen3's tokenizer does. Special tokens get the ids after all others, in the \
      order given; end-of-text and chat markers are added with \
      --special "<|endoftext|>" --special "<|im_start|>" --special "<|im_end|>".

      EXAMPLES:
        xtuner tokenizer train --input a.txt --vocabulary-size 8192 --out tok
        xtuner tokenizer train --input a.txt b/ --vocabulary-size 512 --out tok
      """)

  @Option(
    parsing: .upToNextOption,
    help: "Text files (UTF-8), one document a line, or JSONL files with a text key.")
  package var input: [String]

  @Option(help: "Ids in all: 256 bytes, merges and special tokens.")
  package var vocabularySize: Int

  @Option(help: "The folder to write tokenizer.json and tokenizer_config.json to.")
  package var out: String

  @Option(help: "A special token; may be given several times.")
  package var special: [String] = []

  @Option(help: "Merge only pairs that occur at least this often.")
  package var minimumFrequency = 2

  @Flag(help: "Replace a tokenizer that the folder holds.")
  package var overwrite = false

  @Flag(help: "Print one JSON object about the tokenizer.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .tokenizerTrain(self) }

  package func validate() throws {
    guard !input.isEmpty else { throw ValidationError("--input needs at least one file") }
    try OptionLimits.check(
      "--vocabulary-size", vocabularySize, from: 256 + special.count, .vocabulary)
    try OptionLimits.check("--minimum-frequency", minimumFrequency, from: 1, .index)
  }
}

/// `xtuner tokenizer encode`: text to ids.
package struct TokenizerEncodeCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "encode",
    abstract: "Encodes every line of a text file, or one text.",
    discussion: """
      With --input each line becomes one JSON list of ids in --out. With --text the ids of one \
      text are printed. No special tokens are added; those in the text are found.

      EXAMPLES:
        xtuner tokenizer encode --tokenizer tokenizer.json --text "Hello"
        xtuner tokenizer encode --tokenizer tok --input a.txt --out ids.jsonl
      """)

  @OptionGroup package var tokenizer: TokenizerOption

  @Option(help: "The text file to encode.")
  package var input: String?

  @Option(help: "The JSONL file to write.")
  package var out: String?

  @Option(help: "A text to encode instead of a file.")
  package var text: String?

  @Option(help: "Threads; all cores when left out.")
  package var threads: Int?

  @Flag(help: "Print one JSON object: counts and rate, or the ids of --text.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .tokenizerEncode(self) }

  package func validate() throws {
    try OptionLimits.check("--threads", threads, from: 1, .threads)
    let hasFiles = input != nil && out != nil
    guard text != nil ? (input == nil && out == nil) : hasFiles else {
      throw ValidationError("either --text TEXT or both --input FILE and --out FILE are needed")
    }
  }
}

/// `xtuner tokenizer decode`: ids to text.
package struct TokenizerDecodeCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Decodes token ids to text.",
    discussion: """
      Reads ids from the command line, or from --input, a file with one JSON list a line as \
      encode writes it; each list becomes one line of standard output, or of --out.

      EXAMPLES:
        xtuner tokenizer decode --tokenizer tokenizer.json 9707 11 1879
        xtuner tokenizer decode --tokenizer tok --input ids.jsonl --out a.txt
      """)

  @Argument(help: "Token ids.")
  package var ids: [Int32] = []

  @OptionGroup package var tokenizer: TokenizerOption

  @Option(help: "A file with one JSON list of ids a line.")
  package var input: String?

  @Option(help: "The file to write; standard output when left out.")
  package var out: String?

  @Flag(help: "Leave special tokens out of the text.")
  package var skipSpecialTokens = false

  @Flag(help: "Print one JSON string a line.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .tokenizerDecode(self) }

  package func validate() throws {
    guard ids.isEmpty != (input == nil) else {
      throw ValidationError("either token ids or --input FILE are needed")
    }
  }
}

/// `xtuner tokenizer info`: what a tokenizer is.
package struct TokenizerInfoCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Prints the size, special tokens and hash of a tokenizer.",
    discussion: """
      EXAMPLES:
        xtuner tokenizer info Qwen3-0.6B
        xtuner tokenizer info tokenizer.json --json
      """)

  @Argument(help: "A folder with a tokenizer, a tokenizer.json or a tiktoken file.")
  package var tokenizer: String

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .tokenizerInfo(self) }
}
