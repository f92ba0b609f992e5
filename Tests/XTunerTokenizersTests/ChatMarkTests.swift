import Testing
import XTunerTokenizers

@Suite struct ChatMarkTests {
  @Test func marksAreTheTokensThatATemplateWrites() throws {
    #expect(try ChatTemplate.named("chatml").marks == ["<|im_start|>", "<|im_end|>"])
    let deepSeek = try ChatTemplate.named("deepseek-v3").marks
    #expect(deepSeek.prefix(3) == ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"])
    #expect(deepSeek.contains("<｜tool▁call▁begin｜>"))
    let harmony = try Set(ChatTemplate.named("gpt-oss").marks)
    #expect(harmony.isSuperset(of: ["<|start|>", "<|message|>", "<|channel|>", "<|return|>"]))
    for name in ChatTemplate.names {
      #expect(try !ChatTemplate.named(name).marks.isEmpty, "\(name)")
    }
  }

  @Test func marksThatAreNoTokensAreMissing() throws {
    let qwen = try Tokenizer(path: Fixture.path("qwen3"))
    #expect(try ChatTemplate.named("qwen3").missingMarks(in: qwen).isEmpty)
    let missing = try ChatTemplate.named("kimi-k2").missingMarks(in: qwen)
    #expect(missing.contains("<|im_middle|>"))
    #expect(!missing.contains("<|im_end|>"))
  }
}
