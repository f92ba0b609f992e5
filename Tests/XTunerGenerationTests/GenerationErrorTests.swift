import Testing
import Torch
import XTunerGeneration
import XTunerModels
import XTunerNN

@Suite struct GenerationErrorTests {
  private func failure(
    _ prompts: [[Int32]], _ options: SamplingOptions = .greedy(),
    model: LanguageModel = randomModel(maximumPositionCount: 7)
  ) -> GenerationError? {
    do {
      _ = try TextGenerator(model: model, tokenizer: nil).generate(
        prompts: prompts, options: options)
      return nil
    } catch {
      return error
    }
  }

  @Test func anEmptyPromptIsNamed() {
    let error = failure([[1], []])
    #expect(error?.code == .invalidPrompt)
    #expect(error?.description.contains("prompt 1") == true)
  }

  @Test func aPromptThatFillsTheContextIsRefused() {
    let error = failure([Array(repeating: 1, count: 7)])
    #expect(error?.code == .invalidPrompt)
    #expect(error?.description.contains("7 tokens") == true)
  }

  @Test(arguments: [293, -1] as [Int32])
  func aTokenWithoutARowIsRefused(id: Int32) {
    let error = failure([[1, id]])
    #expect(error?.code == .invalidPrompt)
    #expect(error?.description.contains("token \(id)") == true)
  }

  @Test func everyImpossibleOptionIsNamed() {
    let options = SamplingOptions(
      maximumTokenCount: -1, temperature: .nan, topP: 0, topK: 0, stopStrings: [""])
    let description = failure([[1]], options)?.description ?? ""
    for part in ["token count", "temperature", "top-p", "top-k", "stop string"] {
      #expect(description.contains(part), "\(description)")
    }
  }

  @Test func stopStringsNeedATokenizer() {
    #expect(
      failure([[1]], SamplingOptions(stopStrings: ["x"]))?.code == .missingTokenizer)
  }

  @Test func logitsThatAreNotNumbersAreAnError() {
    let model = randomModel()
    withoutGradients { model.head.projection.value.detached().fill(.real(.nan)) }
    let error = failure([[1]], model: model)
    #expect(error?.code == .nonFinite)
    #expect(error?.description.contains("token 1") == true)
  }

  @Test func dynamicScalingBeyondItsContextIsRefused() throws {
    var configuration = randomModel().configuration
    configuration.rotary.scaling = .dynamic(factor: 2, originalPositionCount: 7)
    let model = configuration.makeModel()
    #expect(failure([[1, 2]], .greedy(maximumTokenCount: 6), model: model)?.code == .unsupported)
  }
}
