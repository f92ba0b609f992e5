public import Torch
public import XTunerNN

/// The number type that gradients travel in; sums are float32 always.
public enum GradientWire: String, Sendable, Hashable, CaseIterable {
  case float32 = "f32"
  case bfloat16 = "bf16"
}

extension FlatUnit {
  /// Elements that are widened to float32 at once: 4 MB.
  package static let widenedCount = 1 << 20

  /// The gradient of a parameter for in-place accumulation, zeroed when it is the first since the
  /// last reduction; a view of its local shape.
  public func accumulator(of parameter: Parameter) -> Tensor {
    let index = index(of: parameter)
    widenSoleGradient(index)
    let sum = view(gradientMemory(), slots[index])
    if !hasGradient[index] {
      withoutGradients { sum.zero() }
      hasGradient[index] = true
    }
    return sum
  }

  /// Adds `gradient`, of any floating dtype, to the parameter's float32 gradient.
  ///
  /// The first one of another dtype is kept as it is where no other rank has a gradient to add: where
  /// steps bring no second one, the tensor is half as large and not copied. A unit that has float32
  /// sums, since steps bring several, writes there.
  public func accumulate(_ gradient: Tensor, for parameter: Parameter) {
    let index = index(of: parameter)
    if self.gradient == nil, !hasGradient[index], group.size == 1, replicas.size == 1,
      gradient.dtype != .float32
    {
      soleGradients[index] = withoutGradients { gradient.contiguous() }
      hasGradient[index] = true
      return
    }
    widenSoleGradient(index)
    let sum = view(gradientMemory(), slots[index])
    withoutGradients {
      if hasGradient[index] {
        add(gradient, to: sum)
      } else {
        sum.copy(from: gradient)
        hasGradient[index] = true
      }
    }
  }

  /// Moves a gradient that was kept as it came into the float32 sums.
  private func widenSoleGradient(_ index: Int) {
    guard let sole = soleGradients[index] else { return }
    soleGradients[index] = nil
    withoutGradients { view(gradientMemory(), slots[index]).copy(from: sole) }
  }

  /// libtorch widens all of what is added to another dtype first: a few rows at a time keep that small.
  private func add(_ gradient: Tensor, to sum: Tensor) {
    guard gradient.dtype != .float32, gradient.rank > 1 else { return sum.add(gradient) }
    let rowCount = gradient.size(0)
    let step = max(Self.widenedCount / max(gradient.elementCount / max(rowCount, 1), 1), 1)
    for start in stride(from: 0, to: rowCount, by: step) {
      let length = min(step, rowCount - start)
      sum.narrowed(dim: 0, start: start, length: length)
        .add(gradient.narrowed(dim: 0, start: start, length: length))
    }
  }

  /// Forgets the gradients: the next one overwrites, and parameters without one count as zero.
  public func clearGradients() {
    for index in hasGradient.indices {
      hasGradient[index] = false
      soleGradients[index] = nil
    }
    hasGradientShard = false
  }

  /// The gradient of the own part in pieces, flat, float32 or as they came, in ascending order.
  ///
  /// Ranges count in the unit; elements that are in none are padding. Reductions must have been
  /// finished.
  public func gradientPieces() -> [(range: Range<Int>, gradient: Tensor)] {
    guard soleGradients.contains(where: { $0 != nil }) else {
      return [(shardRange, finishedGradient())]
    }
    return slots.enumerated().map { index, slot in
      let gradient =
        if let sole = soleGradients[index] {
          sole
        } else if hasGradient[index] {
          view(gradientShard(), slot)
        } else {
          Tensor.zeros([slot.range.count], dtype: computeDType, device: device)
        }
      return (slot.range, gradient.view([-1]))
    }
  }

  /// The float32 gradient of a parameter in a unit that one rank has alone, a view.
  public func gradientView(of parameter: Parameter) -> Tensor {
    precondition(group.size == 1, "\(name) is spread over \(group.size) ranks")
    return view(finishedGradient(), slots[index(of: parameter)])
  }

  /// The float32 gradient of the own part, with zeros for parameters that got none since the last
  /// clear.
  ///
  /// Reductions must have been finished.
  public func finishedGradient() -> Tensor {
    for index in slots.indices { widenSoleGradient(index) }
    let gradient = gradientShard()
    withoutGradients {
      if group.size == 1 {
        zeroMissing(gradient)
      } else if !hasGradientShard {
        gradient.zero()
      }
    }
    return gradient
  }

  // MARK: Over ranks

  /// Starts to sum what was accumulated over the ranks of the group, each keeping its part.
  ///
  /// `isLast` says that the step adds no more to this unit: then the sum over replicas follows.
  public func reduce(wire: GradientWire, isLast: Bool) throws(CommunicationError) {
    guard group.size > 1 else {
      if isLast && replicas.size > 1 {
        withoutGradients { zeroMissing(gradientShard()) }
        for index in hasGradient.indices { hasGradient[index] = true }
        try reduceReplicas()
      }
      return
    }
    precondition(reduction == nil, "\(name): a reduction is under way")
    let memory = gradientMemory()
    withoutGradients { zeroMissing(memory) }
    let sum =
      hasGradientShard
      ? Tensor.empty([shardRange.count], dtype: .float32, device: device) : gradientShard()
    switch wire {
    case .float32:
      let work = try group.reduceScatter(into: sum, from: memory, label: name)
      reduction = Reduction(work: work, sum: sum, received: nil, isLast: isLast)
    case .bfloat16:
      // Only the way is bfloat16: the parts are summed in float32, in the order of ranks.
      let sent = memory.to(.bfloat16)
      let received = Tensor.empty([elementCount], dtype: .bfloat16, device: device)
      let counts = Array(repeating: shardRange.count, count: group.size)
      let work = try group.allToAll(
        into: received, from: sent, outputCounts: counts, inputCounts: counts, label: name)
      reduction = Reduction(work: work, sum: sum, received: received, isLast: isLast)
    }
    for index in hasGradient.indices { hasGradient[index] = false }
  }

  /// Waits for a reduction under way and adds its sum to the own part.
  public func finishReduction() throws(CommunicationError) {
    guard let reduction else { return }
    try reduction.work.wait()
    withoutGradients {
      if let received = reduction.received {
        let parts = received.view([group.size, shardRange.count]).to(.float32)
        reduction.sum.copy(from: parts.sum(dims: [0]))
      }
      if hasGradientShard { gradientShard().add(reduction.sum) }
    }
    hasGradientShard = true
    self.reduction = nil
    if let gradientBuffer {
      wholeGradient?.detachMemory()
      pool.giveBack(gradientBuffer)
      self.gradientBuffer = nil
    }
    if reduction.isLast && replicas.size > 1 { try reduceReplicas() }
  }

  /// Waits for the sum over replicas.
  public func finishReplicas() throws(CommunicationError) {
    try replicaWork?.wait()
    replicaWork = nil
  }

  private func reduceReplicas() throws(CommunicationError) {
    replicaWork = try replicas.allReduce(gradientShard(), label: name)
  }

  private func zeroMissing(_ memory: Tensor) {
    for (index, slot) in slots.enumerated() where !hasGradient[index] { view(memory, slot).zero() }
  }

  /// The own part's gradient; memory is taken on the first call, as zeros, so padding stays zero.
  private func gradientShard() -> Tensor {
    if let gradient { return gradient }
    let fresh = Tensor.zeros([shardRange.count], dtype: .float32, device: device)
    gradient = fresh
    return fresh
  }

  /// Where gradients are accumulated: the whole unit's.
  private func gradientMemory() -> Tensor {
    guard let wholeGradient else { return gradientShard() }
    if gradientBuffer == nil {
      let buffer = pool.take(byteCount: elementCount * DType.float32.size)
      wholeGradient.attachMemory(of: buffer)
      gradientBuffer = buffer
      // Padding is summed too and must stay zero.
      withoutGradients { zeroPadding(wholeGradient) }
    }
    return wholeGradient
  }

  private func zeroPadding(_ memory: Tensor) {
    var end = 0
    for slot in slots {
      if slot.offset > end {
        memory.narrowed(dim: 0, start: end, length: slot.offset - end).zero()
      }
      end = slot.range.upperBound
    }
    if elementCount > end {
      memory.narrowed(dim: 0, start: end, length: elementCount - end).zero()
    }
  }
}
