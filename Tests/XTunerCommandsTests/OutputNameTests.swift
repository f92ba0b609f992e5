import Foundation
import Testing
import XTunerRun
import XTunerTrainer

@testable import xtuner_engine

/// The rule for `--out` and `--to`, and commands that follow it.
@Suite struct OutputNameTests {
  private static func withFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("output-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(
      atPath: "\(folder)/model", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Data("input".utf8).write(to: URL(fileURLWithPath: "\(folder)/in"))
    try Data("weights".utf8).write(to: URL(fileURLWithPath: "\(folder)/model/a.safetensors"))
    try body(folder)
  }

  @Test(arguments: ["in", "./in", "model/../in", "link", "hard", "model/a.safetensors"])
  func anInputIsNotWrittenOver(name: String) throws {
    try Self.withFolder { folder in
      try FileManager.default.createSymbolicLink(
        atPath: "\(folder)/link", withDestinationPath: "in")
      try FileManager.default.linkItem(atPath: "\(folder)/in", toPath: "\(folder)/hard")
      let error = #expect(throws: CommandFailure.self) {
        try OutputName.checkFile(
          "--out", "\(folder)/\(name)",
          inputs: ["\(folder)/absent", "\(folder)/in", "\(folder)/model"])
      }
      #expect(error?.exitCode == .usage)
      #expect(error?.message.contains("is the input \(folder)/") == true, "\(error?.message ?? "")")
    }
  }

  @Test func otherNamesAreFreeAndTheirFoldersAreMade() throws {
    try Self.withFolder { folder in
      let inputs = ["\(folder)/in", "\(folder)/model"]
      try OutputName.checkFile("--out", "\(folder)/out", inputs: inputs)
      try OutputName.checkFile("--out", "\(folder)/model/new", inputs: inputs)
      try OutputName.checkFile("--out", "/dev/null", inputs: inputs + ["/dev/null"])
      try OutputName.checkFile("--out", "\(folder)/a/b/out", inputs: inputs)
      #expect(FileManager.default.fileExists(atPath: "\(folder)/a/b"))
      let error = #expect(throws: CommandFailure.self) {
        try OutputName.checkFile("--out", "\(folder)/in/out", inputs: [])
      }
      #expect(error?.exitCode == .storage)
      #expect(error?.message.contains("Cocoa") == false, "\(error?.message ?? "")")
    }
  }

  @Test func aFolderThatIsReadIsNotReplaced() throws {
    try Self.withFolder { folder in
      let input = "\(folder)/model"
      for path in [input, folder, "\(folder)/model/", "/"] {
        #expect(throws: CommandFailure.self, "\(path)") {
          try OutputName.checkFolder("--to", path, inputs: [input])
        }
      }
      try OutputName.checkFolder("--to", "\(input)/export", inputs: [input])
      #expect(throws: CommandFailure.self) {
        try OutputName.checkFolder("--to", "\(input)/export", inputs: [input], sealed: [input])
      }
      try OutputName.checkFolder("--to", "\(input)-2", inputs: [input], sealed: [input])
    }
  }

  @Test func commandsKeepWhatTheyRead() throws {
    try EngineRun.with { run in
      try run.write("one\ntwo\n", to: "a.txt")
      let tokenizer = "\(run.folder)/tokenizer/tokenizer.json"
      let before = FileManager.default.contents(atPath: tokenizer)
      func refused(_ words: [String], code: Int32) throws {
        let process = try run.start("the command", [run.enginePath] + words)
        #expect(try process.wait() == code, "\(process.output)")
      }
      let encode = ["tokenizer", "encode", "--tokenizer", "tokenizer", "--input", "a.txt", "--out"]
      try refused(encode + ["a.txt"], code: 2)
      try refused(encode + ["tokenizer/tokenizer.json"], code: 2)
      try refused(encode + ["new/ids.jsonl"], code: 0)
      try refused(
        [
          "tokenizer", "decode", "--tokenizer", "tokenizer", "--input", "new/ids.jsonl", "--out",
          "new/ids.jsonl",
        ], code: 2)
      try refused(
        [
          "tokenizer", "train", "--input", "a.txt", "--vocabulary-size", "257", "--out",
          "tokenizer",
        ], code: 7)
      try refused(
        ["data", "dump", "config.yaml", "--steps", "1", "--out", "data.jsonl"], code: 2)
      try refused(
        ["data", "dump", "config.yaml", "--steps", "99999999", "--out", "d"], code: 2)
      #expect(FileManager.default.contents(atPath: tokenizer) == before)
      #expect(
        FileManager.default.contents(atPath: "\(run.folder)/a.txt") == Data("one\ntwo\n".utf8))
      try run.train(ranks: 1, run: "r", ["training.steps=3"])
      try refused(["export", "r", "--to", "r", "--overwrite"], code: 2)
      try refused(["export", "r", "--to", ".", "--overwrite"], code: 2)
      try refused(["export", "r", "--to", "r/checkpoints", "--overwrite"], code: 2)
      try refused(["export", "r", "--to", "r/export", "--overwrite"], code: 0)
      // A run directory stands for its export.
      let weights = "\(run.folder)/r/export/model.safetensors"
      let exported = FileManager.default.contents(atPath: weights)
      try refused(
        ["data", "dump", "config.yaml", "--steps", "1", "--out", "d.safetensors"], code: 0)
      try refused(["probe", "r", "--tokens", "d.safetensors", "--out", weights], code: 2)
      #expect(exported != nil && FileManager.default.contents(atPath: weights) == exported)
      try refused(["generate", "r", "--prompt", "The", "--max-tokens", "3"], code: 0)
      try refused(
        [
          "train", "config.yaml", "--resume", "r", "--set", "run.directory=s", "--set",
          "training.steps=4",
        ], code: 0)
      #expect(run.steps(run: "s").map(\.number) == [4])
    }
  }
}
