import Testing
import Torch
import XTunerGeneration
import XTunerModels
import XTunerNN
import XTunerTokenizers

@Suite struct TextGeneratorTests {
  @Test(arguments: ["qwen3_tied", "qwen3_untied", "qwen3_moe"])
  func greedyAnswersEqualTransformers(name: String) throws {
    let generator = TextGenerator(model: try referenceModel(name), tokenizer: nil)
    let cases = GreedyReference.all.filter { $0.model == name }
    #expect(cases.count == 4)
    // Ragged prompts in one batch.
    let answers = try generator.generate(
      prompts: cases.map(\.prompt), options: .greedy(maximumTokenCount: 40))
    for (index, answer) in answers.enumerated() {
      #expect(answer.ids == cases[index].answer, "prompt of \(cases[index].prompt.count) tokens")
      #expect(answer.finishReason == .maximumTokenCount)
    }
  }

  @Test(arguments: ["qwen3_tied", "qwen3_moe"])
  func cachedLogitsEqualThoseOfAFullForwardPass(name: String) throws {
    let model = try referenceModel(name)
    let sequences: [[Int32]] = [[5, 9, 130], [7], [88, 3, 3, 61, 40, 12, 159]]
    let prompts = [2, 1, 5]
    withoutGradients {
      var lengths = prompts
      let cache = KeyValueCache(promptLengths: prompts, capacity: 5)
      func pass(_ tokens: [Int32], _ bounds: [Int]) -> Tensor {
        let contexts = model.makeContexts(
          ModelInput(bounds: bounds, positions: cache.positionsT, cache: cache))
        return model.head(model.hiddenStates(Tensor(tokens).to(.int64), contexts))
      }
      _ = pass(zip(sequences, prompts).flatMap { $0.prefix($1) }, [0, 2, 3, 8])
      // Sequence 1 has no more tokens; the others go on, and the capacity of 5 must grow.
      cache.keepSequences([0, 2])
      lengths = [2, 5]
      cache.advance()
      let logits = pass([sequences[0][2], sequences[2][5]], [0, 1, 2]).floats()
      for (row, index) in [0, 2].enumerated() {
        let expected = lastLogits(model, Array(sequences[index].prefix(lengths[row] + 1)))
        let actual = logits[row * expected.count..<(row + 1) * expected.count]
        let difference = zip(actual, expected).map { abs($0 - $1) }.max()!
        #expect(difference < 1e-4, "sequence \(index)")
      }
      #expect(cache.capacity == 10)
      #expect(cache.lengths == [3, 6])
    }
  }

  @Test(arguments: [(nil, false), (3, false), (nil, true), (4, true)] as [(Int?, Bool)])
  func greedyAnswersAreTheMaximaOfRepeatedForwardPasses(window: Int?, hasSinks: Bool) throws {
    let model = randomModel(window: window, hasSinks: hasSinks)
    let prompts: [[Int32]] = [[17, 3, 250, 101, 7], [41], [5, 6, 7, 8, 9, 10, 11]]
    let answers = try TextGenerator(model: model, tokenizer: nil, batchSize: 2).generate(
      prompts: prompts, options: .greedy(maximumTokenCount: 13))
    for (prompt, answer) in zip(prompts, answers) {
      var tokens = prompt
      for id in answer.ids {
        #expect(id == argMax(lastLogits(model, tokens)), "after \(tokens.count) tokens")
        tokens.append(id)
      }
      #expect(answer.ids.count == 13)
    }
  }

  @Test(arguments: [0, 0.9])
  func aSequenceDoesNotDependOnThoseBesideIt(temperature: Double) throws {
    let model = randomModel()
    let prompts: [[Int32]] = [[17, 3, 250], [41], [5, 6, 7, 8, 9, 10, 11], [99, 98]]
    var options = SamplingOptions(maximumTokenCount: 11, temperature: temperature, seed: 5)
    // Ends sequences at different times.
    options.stopTokens = Set((0..<293).filter { $0 % 13 == 0 })
    let together = try TextGenerator(model: model, tokenizer: nil).generate(
      prompts: prompts, options: options)
    #expect(Set(together.map(\.ids.count)).count > 1)
    for (prompt, expected) in zip(prompts, together) {
      let alone = try TextGenerator(model: model, tokenizer: nil).generate(
        prompts: [prompt], options: options)
      #expect(alone == [expected])
    }
  }

  @Test func equalPromptsGetAnswersOfTheirOwnAndTheSeedRepeatsThem() throws {
    let generator = TextGenerator(model: randomModel(), tokenizer: nil)
    var options = SamplingOptions(maximumTokenCount: 17, temperature: 1.5, seed: 3)
    let prompts: [[Int32]] = [[4, 5], [4, 5]]
    let first = try generator.generate(prompts: prompts, options: options)
    #expect(first[0].ids != first[1].ids)
    #expect(try generator.generate(prompts: prompts, options: options) == first)
    options.seed = 4
    #expect(try generator.generate(prompts: prompts, options: options)[0].ids != first[0].ids)
  }

  @Test func aStopTokenEndsTheIDs() throws {
    let generator = TextGenerator(model: randomModel(), tokenizer: nil)
    let free = try generator.generate(
      prompts: [[8, 1]], options: .greedy(maximumTokenCount: 9))[0].ids
    let stop = free[3]
    let answer = try generator.generate(
      prompts: [[8, 1]], options: .greedy(maximumTokenCount: 9, stopTokens: [stop]))[0]
    #expect(answer.ids == Array(free[...free.firstIndex(of: stop)!]))
    #expect(answer.finishReason == .stopToken(stop))
  }

  @Test func theContextLimitEndsASequence() throws {
    let generator = TextGenerator(model: randomModel(maximumPositionCount: 7), tokenizer: nil)
    let answers = try generator.generate(
      prompts: [[1, 2, 3], [9, 9, 9, 9, 9, 9]], options: .greedy(maximumTokenCount: .max))
    #expect(answers.map(\.ids.count) == [4, 1])
    #expect(answers.allSatisfy { $0.finishReason == .contextLimit })
  }

  @Test func tokensArriveInOrderAndAsReturned() throws {
    let generator = TextGenerator(model: randomModel(), tokenizer: nil, batchSize: 2)
    var seen: [[Int32]] = [[], [], []]
    let answers = try generator.generate(
      prompts: [[1], [2, 3], [4]], options: SamplingOptions(maximumTokenCount: 5),
      onToken: { seen[$0].append($1) })
    #expect(answers.map(\.ids) == seen)
  }

  @Test func zeroTokensAreNotAnError() throws {
    let generator = TextGenerator(model: randomModel(), tokenizer: nil)
    let answers = try generator.generate(
      prompts: [[1], [2, 3]], options: .greedy(maximumTokenCount: 0))
    #expect(
      answers
        == Array(
          repeating: GeneratedSequence(ids: [], text: "", finishReason: .maximumTokenCount),
          count: 2))
    #expect(try generator.generate(prompts: [], options: .greedy()) == [])
  }

  @Test func sixteenBitModelsGenerate() throws {
    let generator = TextGenerator(
      model: randomModel(window: 5, hasSinks: true, computeDType: .bfloat16), tokenizer: nil)
    let answers = try generator.generate(
      prompts: [[1], [2, 3, 5]], options: .greedy(maximumTokenCount: 9))
    #expect(answers.map(\.ids.count) == [9, 9])
  }

  @Test func textIsWhatTheTokenizerDecodes() throws {
    let tokenizer = try byteTokenizer()
    // 256 rows: every token is a byte.
    let generator = TextGenerator(model: randomModel(vocabularySize: 256), tokenizer: tokenizer)
    var streamed = ""
    let answer = try generator.generate(
      prompt: "ab", options: SamplingOptions(maximumTokenCount: 60, seed: 2),
      onText: { streamed += $0 })
    #expect(try answer.text == tokenizer.decode(answer.ids))
    #expect(streamed == answer.text)
  }
}
