import CTorch

// Shape legend for this file:
//   n elements of one rank   size ranks of the group

/// How values of several ranks become one.
public enum Reduction: Sendable {
  case sum
  case maximum
}

extension ProcessGroup {
  /// Starts to bring every rank's tensor to all, in the order of places.
  ///
  /// - Parameters:
  ///   - output: `[size * n]`; may contain `input` at this rank's place.
  ///   - input: `[n]`, of any dtype.
  ///   - label: What messages name, such as `layers.3.experts`.
  /// - Returns: The operation, to be waited for.
  /// - Throws: The group's first failure.
  public func allGather(
    into output: Tensor, from input: Tensor, label: String
  ) throws(CommunicationError) -> Work {
    check([output, input], "all-gather", label)
    let count = input.elementCount
    precondition(
      output.elementCount == size * count && output.dtype == input.dtype,
      "all-gather of \(label): \(size) times \(input) into \(output)")
    guard count > 0, size > 1 else { return try copy("all-gather", label, into: output, input) }
    gatheredByteCount += output.byteCount
    let landing = landing(for: output)
    return try issue("all-gather", label, landing.flat, staged(input), finish: landing.finish) {
      ct_group_all_gather($0, $1[0], $1[1], $2)
    }
  }

  /// Starts to sum the ranks' tensors, of which each rank gets its part.
  ///
  /// Sums are in the tensor's dtype and in the order of places, so the same on every run. The parts
  /// travel to the rank that sums them, which does so in `wait`.
  /// - Parameters:
  ///   - output: `[n]`.
  ///   - input: `[size * n]`.
  ///   - label: What messages name.
  /// - Returns: The operation, to be waited for.
  /// - Throws: The group's first failure.
  public func reduceScatter(
    into output: Tensor, from input: Tensor, label: String
  ) throws(CommunicationError) -> Work {
    check([output, input], "reduce-scatter", label)
    let count = output.elementCount
    precondition(
      input.elementCount == size * count && output.dtype == input.dtype,
      "reduce-scatter of \(label): \(input) into \(size) times \(output)")
    guard count > 0, size > 1 else { return try copy("reduce-scatter", label, into: output, input) }
    // libtorch's own goes through an all-reduce: the whole tensor to all, and order by place.
    let parts = Tensor.empty([size * count], dtype: input.dtype, device: device)
    let counts = Array(repeating: Int64(count), count: size)
    let size = size
    func sum() {
      withoutGradients {
        let landing = landing(for: output)
        landing.flat.copy(from: parts.narrowed(dim: 0, start: 0, length: count))
        for place in 1..<size {
          landing.flat.add(parts.narrowed(dim: 0, start: place * count, length: count))
        }
        landing.finish?()
      }
    }
    return try issue("reduce-scatter", label, parts, staged(input), finish: sum) {
      ct_group_all_to_all($0, $1[0], $1[1], counts, counts, counts.count, $2)
    }
  }

  /// Starts to sum a tensor over the ranks, or to take the maximum, in place.
  ///
  /// All ranks get the same bits, and the same on every run.
  public func allReduce(
    _ tensor: Tensor, _ operation: Reduction = .sum, label: String
  ) throws(CommunicationError) -> Work {
    check([tensor], "all-reduce", label)
    guard tensor.elementCount > 0, size > 1 else { return try nothing("all-reduce", label) }
    let landing = landing(for: tensor, isRead: true)
    return try issue("all-reduce", label, landing.flat, finish: landing.finish) {
      ct_group_all_reduce($0, $1[0], operation == .maximum, $2)
    }
  }

  /// Starts to send rows to every rank and to get rows from every rank.
  ///
  /// Zero counts and empty tensors are ordinary, on any rank.
  /// - Parameters:
  ///   - output: Gets the rows from place 0, then from place 1, and so on.
  ///   - input: Has the rows for place 0, then for place 1, and so on; of any dtype.
  ///   - outputCounts: Rows (dim 0) from each place.
  ///   - inputCounts: Rows for each place.
  ///   - label: What messages name.
  /// - Returns: The operation, to be waited for.
  /// - Throws: The group's first failure.
  public func allToAll(
    into output: Tensor, from input: Tensor, outputCounts: [Int], inputCounts: [Int], label: String
  ) throws(CommunicationError) -> Work {
    check([output, input], "all-to-all", label)
    precondition(
      outputCounts.count == size && outputCounts.reduce(0, +) == output.size(0)
        && inputCounts.count == size && inputCounts.reduce(0, +) == input.size(0)
        && outputCounts[index] == inputCounts[index]
        && output.shape.dropFirst() == input.shape.dropFirst() && output.dtype == input.dtype,
      """
      all-to-all of \(label) among \(size): counts \(inputCounts) of \(input), counts \
      \(outputCounts) of \(output)
      """)
    guard size > 1 else { return try copy("all-to-all", label, into: output, input) }
    // Elements, not rows: an empty tensor does not say how long its rows are.
    let width = Int64(input.shape.dropFirst().reduce(1, *))
    let outputElements = outputCounts.map { Int64($0) * width }
    let inputElements = inputCounts.map { Int64($0) * width }
    let landing = landing(for: output)
    return try issue("all-to-all", label, landing.flat, staged(input), finish: landing.finish) {
      ct_group_all_to_all($0, $1[0], $1[1], outputElements, inputElements, size, $2)
    }
  }

  /// Starts to bring the tensor of one place to all, in place; of any dtype.
  public func broadcast(
    _ tensor: Tensor, from index: Int, label: String
  ) throws(CommunicationError) -> Work {
    check([tensor], "broadcast", label)
    precondition(ranks.indices.contains(index), "broadcast of \(label) from place \(index)")
    guard tensor.elementCount > 0, size > 1 else { return try nothing("broadcast", label) }
    let landing = landing(for: tensor, isRead: true)
    return try issue("broadcast", label, landing.flat, finish: landing.finish) {
      ct_group_broadcast($0, $1[0], Int32(index), $2)
    }
  }

  /// Waits until all ranks are here, and until this rank's earlier operations have ended.
  public func barrier(label: String) throws(CommunicationError) {
    guard size > 1 else { return }
    try issue("barrier", label) { ct_group_barrier($0, $2) }.wait(onHost: true)
  }

  /// Every rank's values, in the order of places.
  ///
  /// All give as many. Waits.
  public func gatherValues(
    _ values: [Double], label: String
  ) throws(CommunicationError) -> [[Double]] {
    let all = Tensor.empty([size * values.count], dtype: .float64, device: device)
    try allGather(into: all, from: Tensor(values, device: device), label: label)
      .wait(onHost: true)
    let elements = all.elements(as: Double.self)
    return (0..<size).map { Array(elements[$0 * values.count..<($0 + 1) * values.count]) }
  }

  private func check(_ tensors: [Tensor], _ operation: StaticString, _ label: String) {
    for tensor in tensors {
      precondition(
        tensor.isContiguous, "\(operation) of \(label): \(tensor) must be contiguous")
    }
  }

  /// Where an operation writes, one dim: the tensor itself, or a tensor on the group's device from
  /// which `finish` copies.
  ///
  /// With `isRead` the operation also reads what is there.
  private func landing(
    for output: Tensor, isRead: Bool = false
  ) -> (flat: Tensor, finish: (() -> Void)?) {
    let target = output.flat
    guard output.device.kind != device.kind else { return (target, nil) }
    let place =
      isRead
      ? staged(output) : Tensor.empty([target.elementCount], dtype: output.dtype, device: device)
    return (place, { withoutGradients { target.copy(from: place) } })
  }

  /// What an operation reads, one dim and on the group's device.
  ///
  /// A copy waits for the tensor's device.
  private func staged(_ input: Tensor) -> Tensor {
    let source = input.flat
    return input.device.kind == device.kind
      ? source : withoutGradients { source.toCopy(device: device) }
  }

  /// An operation that needs nobody else: the group is of one, or there is nothing to move.
  private func nothing(_ name: String, _ label: String) throws(CommunicationError) -> Work {
    if let firstFailure { throw firstFailure }
    let operation = Operation(name: name, label: label, number: operationCount, issued: .now)
    return Work(operation, of: self, handle: nil, finish: nil)
  }

  private func copy(
    _ name: String, _ label: String, into output: Tensor, _ input: Tensor
  ) throws(CommunicationError) -> Work {
    if input.elementCount > 0 && !output.isSameMemory(as: input) {
      withoutGradients { output.flat.copy(from: input.flat) }
    }
    return try nothing(name, label)
  }
}

extension Tensor {
  /// One dim, outside any graph.
  fileprivate var flat: Tensor { detached().view([elementCount]) }

  fileprivate func isSameMemory(as other: Tensor) -> Bool {
    withExtendedLifetime((self, other)) { ct_tensor_has_same_memory(handle, other.handle) }
  }
}
