import Testing

@testable import XTunerSynthesis

@Suite struct ArithmeticProblemTests {
  @Test func generatorIsSplitMix64() {
    var random = SplitMix(seed: 1)
    #expect(random.next() == 0x910a_2dec_8902_5cc1)
    #expect(random.next() == 0xbeeb_8da1_658e_ec67)
    #expect(fnv1a("add 7 5 0") == 0xac2f_8729_6a48_4882)
  }

  @Test func sameSeedGivesTheSameProblemsOnEveryMachine() {
    let problems = ArithmeticProblem.make(seed: 1, count: 30_000, split: .train)
    #expect(
      problems[0].question
        == "Anna has 8 stamps. She buys 9 more. How many stamps does Anna have now?")
    #expect(problems[0].answer == "8 + 9 = 17. The answer is 17.")
    let text = problems.map { "\($0.question)\t\($0.answer)\n" }.joined()
    #expect(fnv1a(text) == 0x7920_db90_1c6a_80a9)
  }

  @Test func splitsShareNoQuestionAndNoHeldOutNumbers() {
    let train = ArithmeticProblem.make(seed: 1, count: 5000, split: .train)
    let text = ArithmeticProblem.make(seed: 2, count: 200, split: .unseenText)
    let numbers = ArithmeticProblem.make(seed: 3, count: 200, split: .unseenNumbers)
    let seen = Set(train.map(\.question))
    #expect(seen.count == train.count)
    #expect(seen.isDisjoint(with: text.map(\.question)))
    #expect(seen.isDisjoint(with: numbers.map(\.question)))
    #expect(Set(train.map(\.answer)).isDisjoint(with: numbers.map(\.answer)))
  }

  @Test func answersAreRight() throws {
    for problem in ArithmeticProblem.make(seed: 5, count: 500, split: .train) {
      let steps = problem.answer.split(separator: ". ")
      for step in steps.dropLast() {
        let parts = step.split(separator: " ")
        let (left, right) = (try #require(Int(parts[0])), try #require(Int(parts[2])))
        let result = try #require(Int(parts[4]))
        switch parts[1] {
        case "+": #expect(left + right == result)
        case "-": #expect(left - right == result)
        default: #expect(left * right == result)
        }
      }
      #expect(problem.answer.hasSuffix("\(steps[steps.count - 2].split(separator: " ")[4])."))
    }
  }
}
