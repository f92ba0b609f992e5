import CTorch

/// Facts about, and process-wide settings of, libtorch.
public enum Torch {
  /// The version of libtorch, such as `2.11.0`.
  public static var version: String { String(cString: ct_torch_version()) }

  /// The vector instructions that libtorch's kernels use, such as `AVX512`.
  public static var cpuCapability: String { String(cString: ct_cpu_capability()) }

  /// Whether the CPU multiplies bfloat16 matrices in hardware.
  public static var hasBFloat16Hardware: Bool { ct_has_bf16_hardware() }

  /// Makes freed tensors' memory stay in the process, in huge pages where the system has them, since
  /// the next step takes it again.
  ///
  /// Page faults of returned and retaken memory cost more than a step's arithmetic. For programs
  /// that train; to be called first.
  public static func keepFreedMemory() {
    torchCall("keepFreedMemory") { ct_keep_freed_memory() }
  }

  /// Bytes that large tensors take, and bytes that are kept for them; zeros before
  /// ``keepFreedMemory()``.
  public static var arenaByteCounts: (used: Int, kept: Int) {
    (Int(ct_arena_used_bytes()), Int(ct_arena_kept_bytes()))
  }

  /// The number of threads of one operation.
  public static var threadCount: Int { Int(ct_thread_count()) }

  /// Sets the number of threads of one operation.
  public static func setThreadCount(_ count: Int) {
    precondition(count > 0, "the thread count must be positive, is \(count)")
    torchCall("set_num_threads") { ct_set_thread_count(Int32(count)) }
  }

  /// Makes operators that have a deterministic variant use it, and the others stop the process.
  public static func setDeterministic(_ isDeterministic: Bool) {
    ct_set_deterministic(isDeterministic)
  }
}
