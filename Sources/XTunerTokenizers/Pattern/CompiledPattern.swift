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
  private let file: String
  private let key: String

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
        "the pattern \(Self.shortened(source)) was refused by PCRE2 (error \(errorCode) at "
          + "\(offset) of \(Self.shortened(translated))); PCRE2 10.40 or newer is needed")
    }
    self.code = code
    self.source = source
    self.file = file
    self.key = key
    isMachineCode = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE)) == 0
  }

  deinit { pcre2_code_free_8(code) }

  /// At most 120 characters of a pattern, for messages.
  static func shortened(_ pattern: String) -> String {
    pattern.unicodeScalars.count <= 120
      ? pattern : "\(String(pattern.unicodeScalars.prefix(117)))..."
  }

  /// The error of a text on which PCRE2 gave up.
  fileprivate func failure(_ outcome: Int32, count: Int) -> TokenizerError {
    let reason =
      switch outcome {
      case PCRE2_ERROR_MATCHLIMIT: "takes too many steps"
      case PCRE2_ERROR_HEAPLIMIT: "takes too much memory"
      default: "fails (PCRE2 error \(outcome))"
      }
    return TokenizerError(
      .unsupported, file: file, key: key,
      "the pattern \(Self.shortened(source)) \(reason) on a text of \(count) bytes; patterns must not "
        + "backtrack without end, as (a+)+$ does")
  }
}

/// Match state of one thread at a time.
///
/// Patterns may come from anywhere, so steps and memory are bounded. What goes wrong is kept instead
/// of thrown, since matching is the inner loop of encoding: who encodes asks for `takeFailure`.
final class PatternMatcher {
  /// Steps that PCRE2 may take from one place of a text: its own default, a tenth of a second.
  private static let stepLimit = 10_000_000
  /// Long texts may take so many steps for each byte more; groups that repeat take one or two.
  private static let stepsPerByte = 64
  /// Memory of a match that PCRE2's machine code has no room for, in KiB.
  private static let heapLimitKiB: UInt32 = 512 << 10

  private let data: OpaquePointer
  private let context: OpaquePointer
  private let stack: OpaquePointer?
  private var limit = UInt32(PatternMatcher.stepLimit)
  /// What went wrong first since the last `takeFailure`.
  private var failure: TokenizerError?
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
    pcre2_set_match_limit_8(context, limit)
    // The heap limit bounds the depth too.
    pcre2_set_depth_limit_8(context, .max)
    pcre2_set_heap_limit_8(context, Self.heapLimitKiB)
  }

  deinit {
    pcre2_match_data_free_8(data)
    pcre2_match_context_free_8(context)
    if let stack { pcre2_jit_stack_free_8(stack) }
  }

  /// Keeps an error for who encodes.
  func fail(_ error: TokenizerError) { failure = failure ?? error }

  /// What went wrong since the last call, or nil.
  func takeFailure() -> TokenizerError? {
    defer { failure = nil }
    return failure
  }

  private func setLimit(byteCount: Int) {
    let wanted = UInt32(
      clamping: max(Self.stepLimit, byteCount.multipliedReportingOverflow(by: Self.stepsPerByte).0))
    guard wanted != limit else { return }
    limit = wanted
    pcre2_set_match_limit_8(context, wanted)
  }

  /// The first match at or after `start`, as byte offsets into the well-formed UTF-8 `subject`.
  ///
  /// Nil also where the pattern takes too long, which `takeFailure` tells.
  @inline(__always)
  func firstMatch(
    of pattern: CompiledPattern, in subject: UnsafePointer<UInt8>, count: Int, from start: Int
  ) -> (start: Int, end: Int)? {
    if count > Self.stepLimit / Self.stepsPerByte || limit != UInt32(Self.stepLimit) {
      setLimit(byteCount: count)
    }
    var outcome: Int32 = PCRE2_ERROR_JIT_STACKLIMIT
    if pattern.isMachineCode {
      outcome = pcre2_jit_match_8(pattern.code, subject, count, start, 0, data, context)
    }
    if outcome == PCRE2_ERROR_JIT_STACKLIMIT {
      let options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_NO_JIT)
      outcome = pcre2_match_8(pattern.code, subject, count, start, options, data, context)
    }
    guard outcome >= 0 else {
      if outcome != PCRE2_ERROR_NOMATCH { fail(pattern.failure(outcome, count: count)) }
      return nil
    }
    return (offsets[0], offsets[1])
  }
}
