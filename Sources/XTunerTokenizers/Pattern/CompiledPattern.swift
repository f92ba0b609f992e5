import CPCRE2

/// A PCRE2 pattern, compiled to machine code where the processor allows it.
///
/// `@unchecked Sendable`: the compiled pattern is never written after `init`, and PCRE2 lets any
/// number of threads match with it as long as each has its own match data.
final class CompiledPattern: @unchecked Sendable {
  fileprivate let code: OpaquePointer
  fileprivate let isMachineCode: Bool
  /// The pattern as the file has it.
  let source: String

  /// Compiles `source` after translation.
  convenience init(_ source: String, file: String, key: String) throws(TokenizerError) {
    let translated = try PatternTranslator.translate(source, file: file, key: key)
    try self.init(translated: translated, source: source, file: file, key: key)
  }

  /// Compiles a pattern that is in PCRE2's own syntax.
  init(
    translated: String, source: String, file: String, key: String
  ) throws(TokenizerError) {
    var errorCode: Int32 = 0
    var offset = 0
    let utf8 = Array(translated.utf8)
    let options = UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP)
    let context = pcre2_compile_context_create_8(nil)
    defer { pcre2_compile_context_free_8(context) }
    pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF))
    guard let code = pcre2_compile_8(utf8, utf8.count, options, &errorCode, &offset, context) else {
      throw TokenizerError(
        .unsupported, file: file, key: key,
        "the pattern \(source) was refused by PCRE2 (error \(errorCode) at \(offset) of "
          + "\(translated)); PCRE2 10.40 or newer is needed")
    }
    self.code = code
    self.source = source
    isMachineCode = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE)) == 0
  }

  deinit { pcre2_code_free_8(code) }
}

/// Match state of one thread at a time.
final class PatternMatcher {
  private let data: OpaquePointer
  private let context: OpaquePointer
  private let stack: OpaquePointer?
  private let offsets: UnsafeMutablePointer<Int>

  init() {
    // Allocation of a few hundred bytes: PCRE2 returns nil only when memory is exhausted.
    guard let data = pcre2_match_data_create_8(1, nil),
      let context = pcre2_match_context_create_8(nil)
    else { preconditionFailure("PCRE2 could not allocate its match state") }
    self.data = data
    self.context = context
    offsets = pcre2_get_ovector_pointer_8(data)
    // 64 MiB of address space; pages are touched only as backtracking needs them.
    stack = pcre2_jit_stack_create_8(32 << 10, 64 << 20, nil)
    pcre2_jit_stack_assign_8(context, nil, UnsafeMutableRawPointer(stack))
    pcre2_set_match_limit_8(context, .max)
    pcre2_set_depth_limit_8(context, .max)
    pcre2_set_heap_limit_8(context, .max)
  }

  deinit {
    pcre2_match_data_free_8(data)
    pcre2_match_context_free_8(context)
    if let stack { pcre2_jit_stack_free_8(stack) }
  }

  /// The first match at or after `start`, as byte offsets into the well-formed UTF-8 `subject`.
  @inline(__always)
  func firstMatch(
    of pattern: CompiledPattern, in subject: UnsafePointer<UInt8>, count: Int, from start: Int
  ) -> (start: Int, end: Int)? {
    var outcome: Int32 = PCRE2_ERROR_JIT_STACKLIMIT
    if pattern.isMachineCode {
      outcome = pcre2_jit_match_8(pattern.code, subject, count, start, 0, data, context)
    }
    if outcome == PCRE2_ERROR_JIT_STACKLIMIT {
      let options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_NO_JIT)
      outcome = pcre2_match_8(pattern.code, subject, count, start, options, data, context)
    }
    if outcome == PCRE2_ERROR_NOMATCH { return nil }
    precondition(outcome >= 0, "PCRE2 failed with \(outcome) on \(pattern.source)")
    return (offsets[0], offsets[1])
  }
}
