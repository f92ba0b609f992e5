public import Torch
public import XTunerNN

/// The memory of one block's parameters: flat buffers, of which the parameters are views.
///
/// Master weights, gradients and moments are one float32 vector each, so that an optimizer is one
/// pass and a shard is a range. Parameters with weight decay come first; each starts at a multiple
/// of 64 bytes. The compute copy (bfloat16, say) has the same layout; in float32 it is the master.
public final class FlatUnit {
  /// What the memory is for.
  public enum Purpose: Sendable {
    /// Master weights, gradients and the compute copy.
    case training
    /// The compute copy alone.
    case inference
  }

  /// A parameter's place.
  public struct Slot {
    /// The parameter.
    public let parameter: Parameter
    /// Where it starts, in elements.
    public let offset: Int
    /// The elements it takes.
    public var range: Range<Int> { offset..<offset + parameter.elementCount }
  }

  /// Elements of float32 in 64 bytes: what a parameter's start is aligned to.
  private static let alignment = 16

  /// Unique in the model, such as `layers.3`.
  public let name: String
  /// The parameters in the order of their places.
  public let slots: [Slot]
  /// The length of the flat buffers, padding included.
  public let elementCount: Int
  /// Elements before this index have weight decay.
  public let decayedCount: Int
  /// The dtype of parameters of compute precision.
  public let computeDType: DType
  /// Float32 weights `[elementCount]`; nil for inference in another dtype.
  public let master: Tensor?
  /// What parameters of compute precision view, `[elementCount]`; the master in float32.
  public let compute: Tensor
  /// Float32 gradients `[elementCount]`; nil until the first one is added.
  public private(set) var gradient: Tensor?

  private var indices: [ObjectIdentifier: Int] = [:]
  private var hasGradient: [Bool]

  /// Takes memory for `parameters` and sets their values.
  ///
  /// `decays` says whether weight decay applies to a parameter.
  public init(
    name: String, parameters: [Parameter], computeDType: DType, purpose: Purpose,
    device: Device = .cpu, decays: (Parameter) -> Bool = { $0.kind == .matrix }
  ) {
    self.name = name
    self.computeDType = computeDType
    let ordered = parameters.filter(decays) + parameters.filter { !decays($0) }
    let decayedParameters = parameters.filter(decays).count
    var slots: [Slot] = []
    var offset = 0
    var decayedCount = 0
    for (index, parameter) in ordered.enumerated() {
      if index == decayedParameters { decayedCount = offset }
      slots.append(Slot(parameter: parameter, offset: offset))
      let padded = (parameter.elementCount + Self.alignment - 1) / Self.alignment * Self.alignment
      offset += padded
    }
    self.slots = slots
    self.elementCount = offset
    self.decayedCount = decayedParameters == ordered.count ? offset : decayedCount
    self.hasGradient = Array(repeating: false, count: slots.count)
    let keepsMaster = purpose == .training || computeDType == .float32
    let master =
      keepsMaster ? Tensor.zeros([offset], dtype: .float32, device: device) : nil
    self.master = master
    self.compute =
      computeDType == .float32
      ? master.unsafelyUnwrapped : Tensor.zeros([offset], dtype: computeDType, device: device)
    for (index, slot) in slots.enumerated() {
      indices[ObjectIdentifier(slot.parameter)] = index
      slot.parameter.value = makeValue(slot, device: device)
    }
  }

  private func makeValue(_ slot: Slot, device: Device) -> Tensor {
    let shape = slot.parameter.shape
    switch (slot.parameter.precision, master) {
    case (.compute, _): return view(compute, slot).leaf()
    case (.full, .some(let master)): return view(master, slot).leaf()
    case (.full, .none): return Tensor.zeros(shape, dtype: .float32, device: device).leaf()
    }
  }

  private func view(_ flat: Tensor, _ slot: Slot) -> Tensor {
    flat.narrowed(dim: 0, start: slot.offset, length: slot.parameter.elementCount)
      .view(slot.parameter.shape)
  }

  private func index(of parameter: Parameter) -> Int {
    guard let index = indices[ObjectIdentifier(parameter)] else {
      preconditionFailure("\(parameter.name) is not in the unit \(name)")
    }
    return index
  }

  /// Where weights are written: the float32 master, or the compute tensor in an inference unit;
  /// a view of the parameter's shape.
  public func writableView(of parameter: Parameter) -> Tensor {
    let slot = slots[index(of: parameter)]
    if let master { return view(master, slot) }
    return parameter.value.detached()
  }

  /// Copies the master weights into the compute copy.
  ///
  /// Needed after each write to the master.
  public func publish() {
    guard let master, computeDType != .float32 else { return }
    withoutGradients { compute.copy(from: master) }
  }

  // MARK: Gradients

  /// The float32 gradient of a parameter, a view; memory is taken on the first call, as zeros.
  public func gradientView(of parameter: Parameter) -> Tensor {
    view(ensureGradient(), slots[index(of: parameter)])
  }

  /// The gradient of a parameter for in-place accumulation, zeroed when it is the step's first.
  public func accumulator(of parameter: Parameter) -> Tensor {
    let index = index(of: parameter)
    let gradient = view(ensureGradient(), slots[index])
    if !hasGradient[index] {
      withoutGradients { gradient.zero() }
      hasGradient[index] = true
    }
    return gradient
  }

  /// Adds `gradient`, of any floating dtype, to the parameter's float32 gradient.
  public func accumulate(_ gradient: Tensor, for parameter: Parameter) {
    let index = index(of: parameter)
    let sum = view(ensureGradient(), slots[index])
    withoutGradients {
      if hasGradient[index] {
        sum.add(gradient)
      } else {
        sum.copy(from: gradient)
        hasGradient[index] = true
      }
    }
  }

  /// Forgets the gradients: the next one overwrites, and parameters without one count as zero.
  public func clearGradients() {
    for index in hasGradient.indices { hasGradient[index] = false }
  }

  /// The whole gradient with zeros for parameters that got none since the last clear.
  public func finishedGradient() -> Tensor {
    let gradient = ensureGradient()
    withoutGradients {
      for (index, slot) in slots.enumerated() where !hasGradient[index] {
        view(gradient, slot).zero()
      }
    }
    return gradient
  }

  private func ensureGradient() -> Tensor {
    if let gradient { return gradient }
    let fresh = Tensor.zeros([elementCount], dtype: .float32, device: compute.device)
    gradient = fresh
    return fresh
  }
}
