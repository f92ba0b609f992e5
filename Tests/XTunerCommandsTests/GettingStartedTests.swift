import Foundation
import Testing

/// Executes every block of docs/getting-started.md as it stands, one after another in one folder.
@Suite struct GettingStartedTests {
  struct Block {
    /// `sh`, `yaml`, `json`, `python`, or empty for output.
    var language: String
    var text: String
    var line: Int
  }

  /// What a test cannot do: how a block begins, and why.
  static let notExecuted = [
    "make build": "builds the program that the test runs",
    "hf download": "needs the network; a small model lies in its place",
    "from transformers": "needs Python packages; scripts/parity.py compares exports",
    "vllm serve": "needs vLLM",
  ]

  static func blocks() throws -> [Block] {
    let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../docs/getting-started.md")
    var blocks: [Block] = []
    var open: Block?
    for (index, line) in try String(contentsOf: page, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      guard line.hasPrefix("```") else {
        open?.text += "\(line)\n"
        continue
      }
      if let block = open {
        blocks.append(block)
        open = nil
      } else {
        open = Block(language: String(line.dropFirst(3)), text: "", line: index + 1)
      }
    }
    try #require(open == nil)
    return blocks
  }

  @Test func everyBlockDoesWhatThePageSays() throws {
    let blocks = try Self.blocks()
    try #require(blocks.count > 14)
    var skipped: Set<String> = []
    try EngineRun.with { run in
      try Self.makeModel(run)
      for (index, block) in blocks.enumerated() {
        if let key = Self.notExecuted.keys.first(where: { block.text.hasPrefix($0) }) {
          skipped.insert(key)
          continue
        }
        switch block.language {
        case "json": try run.write(block.text, to: "chats.jsonl")
        case "yaml":
          let name = try #require(block.text.split(separator: "\n").first).dropFirst(2)
          try #require(name.hasSuffix(".yaml"), "line \(block.line): the first line names the file")
          try run.write(block.text, to: String(name))
        case "sh":
          let next = index + 1 < blocks.count ? blocks[index + 1] : nil
          try Self.execute(block, expecting: next?.language == "" ? next?.text : nil, run)
        case "": break
        default: Issue.record("line \(block.line): a block of \(block.language) is not executed")
        }
      }
    }
    #expect(skipped == Set(Self.notExecuted.keys))
  }

  /// A folder as `hf download` leaves it, with a model of a few thousand weights.
  private static func makeModel(_ run: EngineRun) throws {
    try run.train(
      ranks: 1, run: "base",
      [
        "training.steps=1", "export.at_end=true", "model.architecture.max_position_embeddings=4096",
        "schedule.warmup_steps=1", "checkpoint.at_end=false",
      ])
    let manager = FileManager.default
    for folder in ["models", "bin"] {
      try manager.createDirectory(
        atPath: "\(run.folder)/\(folder)", withIntermediateDirectories: true)
    }
    try manager.moveItem(
      atPath: "\(run.folder)/base/export", toPath: "\(run.folder)/models/Qwen3-0.6B")
    try manager.createSymbolicLink(
      atPath: "\(run.folder)/bin/xtuner", withDestinationPath: run.enginePath)
  }

  /// Runs a block line by line and compares what it shows with the page.
  private static func execute(_ block: Block, expecting shown: String?, _ run: EngineRun) throws {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    let process = try run.start(
      "the block of line \(block.line)", ["/bin/bash", "-ec", block.text],
      ["PATH": "\(run.folder)/bin:\(path)", "HOME": run.folder, "LANG": "C.UTF-8"])
    let code = try process.wait()
    let output = process.output
    let isFailure = shown?.hasPrefix("error: ") == true
    #expect((code != 0) == isFailure, "line \(block.line): \(output)")
    if let shown {
      #expect(
        comparable(output).contains(comparable(shown)), "line \(block.line) shows:\n\(output)")
    }
    if block.text.hasPrefix("xtuner train ") {
      let hint = "try it: xtuner generate runs/chats/export --chat\n"
      #expect(output.contains(hint), "\(output)")
    }
  }

  /// Counts of tokens are those of the page's tokenizer and not of the test's.
  private static func comparable(_ text: String) -> String {
    text.replacing(/[0-9.]+%|\b[0-9]+ tokens, [0-9]+ with/, with: "#")
  }
}
