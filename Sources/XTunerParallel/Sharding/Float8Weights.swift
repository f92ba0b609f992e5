public import Torch
package import XTunerNN

/// The matrices of a unit that ranks share as float8: what travels instead of the compute copy, half the
/// bytes.
///
/// Blocks of 128 x 128 are those of whole matrices, and the ranks' parts are cut anywhere. So ranks first
/// agree on the largest magnitude of each block, all units of a group at once, and each then quantises
/// its own part. The values are those that quantising a gathered bfloat16 matrix gives, bit for bit, and
/// all ranks have the scales.
final class Float8Weights {
  /// The own part.
  let own: Tensor
  /// The whole unit, with memory only while it is gathered.
  let whole: Tensor
  /// The unit's parameters, views of the whole and of the scales.
  let parameters: [Float8Tensor]
  private let scales: Tensor
  private let parts: [Part]

  /// What the own part has of a matrix, in elements of the own part; may be nothing.
  private struct Part {
    var range: Range<Int>
    var matrices: Float8Part
    /// The matrices' blocks, of all that the unit has.
    var blocks: Range<Int>
  }

  init(_ slots: [FlatUnit.Slot], elementCount: Int, own: Range<Int>, device: Device) {
    self.own = Tensor.detachedStorage(count: own.count, dtype: .float8e4m3, device: device)
    // Padding travels too: zeros.
    self.own.attachMemory(of: Tensor.zeros([own.count], dtype: .uint8, device: device))
    let whole = Tensor.detachedStorage(count: elementCount, dtype: .float8e4m3, device: device)
    self.whole = whole
    var parts: [Part] = []
    var blockCount = 0
    for slot in slots {
      let part = slot.range.clamped(to: own)
      let matrices = Float8Part(
        of: slot.parameter.localShape, start: part.isEmpty ? 0 : part.lowerBound - slot.offset)
      parts.append(
        Part(
          range: part.lowerBound - own.lowerBound..<part.upperBound - own.lowerBound,
          matrices: matrices, blocks: blockCount..<blockCount + matrices.blockCount))
      blockCount += matrices.blockCount
    }
    let scales = Tensor.ones([blockCount], dtype: .float32, device: device)
    self.scales = scales
    self.parts = parts
    parameters = zip(slots, parts).map { slot, part in
      Float8Tensor(
        values: whole.narrowed(dim: 0, start: slot.offset, length: slot.slice.localCount)
          .view(slot.parameter.localShape),
        scales: scales.narrowed(dim: 0, start: part.blocks.lowerBound, length: part.blocks.count)
          .view(part.matrices.blockShape),
        tiling: .blocks)
    }
  }

  /// Blocks of all matrices.
  var blockCount: Int { scales.elementCount }

  /// The largest magnitudes of what the own part has of all blocks.
  func magnitudes(of compute: Tensor) -> Tensor {
    Tensor.concatenated(
      parts.map { part in
        part.matrices.magnitudes(
          compute.narrowed(dim: 0, start: part.range.lowerBound, length: part.range.count))
      })
  }

  /// Quantises the own part by scales that all ranks agree on.
  func quantize(_ compute: Tensor, scales: Tensor) {
    self.scales.copy(from: scales)
    for part in parts where !part.range.isEmpty {
      func own(_ tensor: Tensor) -> Tensor {
        tensor.narrowed(dim: 0, start: part.range.lowerBound, length: part.range.count)
      }
      part.matrices.quantize(
        own(compute),
        scales: scales.narrowed(
          dim: 0, start: part.blocks.lowerBound, length: part.blocks.count),
        into: own(self.own))
    }
  }
}

extension Parameter {
  /// Whether ranks share it as float8: not an embedding, of which a tied head is the other use.
  package var travelsAsFloat8: Bool { product != .compute && kind == .matrix }
}

extension [FlatUnit] {
  /// Quantises the compute copies of the units that are gathered as float8.
  ///
  /// All ranks take part; each group agrees once on the magnitudes of all its units' blocks.
  public func quantize() throws(CommunicationError) {
    var rest = compactMap { unit in unit.float8.map { (unit: unit, weights: $0) } }
    while let group = rest.first?.unit.group {
      let own = rest.filter { $0.unit.group === group }
      rest.removeAll { $0.unit.group === group }
      let largest = withoutGradients {
        Tensor.concatenated(own.map { $0.weights.magnitudes(of: $0.unit.compute) })
      }
      try group.allReduce(largest, .maximum, label: "magnitudes of float8 blocks").wait()
      withoutGradients {
        let scales = Float8Part.scales(magnitudes: largest)
        var start = 0
        for (unit, weights) in own {
          weights.quantize(
            unit.compute,
            scales: scales.narrowed(dim: 0, start: start, length: weights.blockCount))
          start += weights.blockCount
        }
      }
    }
  }
}
