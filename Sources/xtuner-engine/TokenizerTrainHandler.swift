import Foundation
import XTunerCommands
import XTunerData
import XTunerRun
import XTunerTokenizers
import XTunerTrainer

/// `xtuner tokenizer train`.
enum TokenizerTrainHandler {
  static func run(_ command: TokenizerTrainCommand) throws {
    let inputs = command.input.flatMap { OutputName.dataFiles($0) }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
      let path = "\(command.out)/\(name)"
      try OutputName.checkFile("--out", path, inputs: inputs)
      guard command.overwrite || !FileManager.default.fileExists(atPath: path) else {
        throw CommandFailure(
          .storage,
          "--out \(command.out): holds \(name); choose another folder, or add --overwrite")
      }
    }
    var trainer = try BytePairTrainer(
      vocabularySize: command.vocabularySize, specialTokens: command.special,
      minimumFrequency: command.minimumFrequency,
      endToken: ["<|im_end|>", "<|endoftext|>"].first { command.special.contains($0) },
      padToken: ["<|endoftext|>"].first { command.special.contains($0) })
    var recordCount = 0
    for path in command.input {
      let reader = try RecordReader(source: RecordSource(paths: [path]))
      while let record = try reader.next() {
        recordCount += 1
        for text in texts(of: record.content) { trainer.add(text) }
      }
      Output.note("\(path): read; records: \(recordCount), different words: \(trainer.pieceCount)")
    }
    let trained = try trainer.train()
    try trained.save(to: command.out)
    report(trained, records: recordCount, command)
  }

  private static func texts(of content: RecordContent) -> [String] {
    switch content {
    case .text(let text): [text]
    case .conversation(let conversation): conversation.messages.map(\.content)
    }
  }

  private static func report(
    _ trained: TrainedTokenizer, records: Int, _ command: TokenizerTrainCommand
  ) {
    if trained.vocabularySize < command.vocabularySize {
      Output.note(
        """
        warning: \(trained.vocabularySize) ids, not \(command.vocabularySize): no other pair \
        occurs \(command.minimumFrequency) times; give more text
        """)
    }
    if command.json {
      Output.write([
        "folder": .string(command.out), "vocabulary_size": .integer(trained.vocabularySize),
        "merges": .integer(trained.merges.count), "records": .integer(records),
        "special_tokens": .strings(trained.specialTokens),
      ])
    } else {
      Output.write(
        """
        \(command.out)/tokenizer.json: \(trained.vocabularySize) ids, \(trained.merges.count) \
        merges, \(trained.specialTokens.count) special tokens
        """)
    }
  }
}
