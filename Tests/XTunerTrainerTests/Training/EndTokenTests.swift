import Foundation
import Testing
import XTunerModels
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

@Suite struct EndTokenTests {
  @Test func anEndTokenOfTheModelsFolderIsNoOrdinaryWord() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    var configuration = try tiny.configuration(run: "run")
    configuration.model.path = "\(tiny.folder)/model"
    var model = try tiny.configuration(run: "run").modelConfiguration()
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/tokenizer")
    let end = Int(try #require(tokenizer.id(of: "<|im_end|>")))
    // The model may have more rows than the tokenizer has tokens.
    model.endTokenIDs = [end, 100_003]
    #expect(throws: Never.self) { try PreparedData(configuration, model: model) }
    model.endTokenIDs = [end, 97]
    let error = #expect(throws: ConfigurationError.self) {
      try PreparedData(configuration, model: model)
    }
    #expect(error?.description.contains("eos_token_id 97 is the word") == true)
    // Where a model starts from random weights, its ids say nothing about this tokenizer.
    configuration.model.path = nil
    #expect(throws: Never.self) { try PreparedData(configuration, model: model) }
  }
}
