package import Torch
import XTunerModels
import XTunerNN
package import XTunerParallel
import XTunerText

/// Flat units as files of a run checkpoint: one file a rank and kind of tensor, one tensor a unit.
package enum UnitFiles {
  /// A kind of tensor with the files that hold it.
  package enum Kind: String, CaseIterable {
    case weights
    case firstMoments = "first_moments"
    case secondMoments = "second_moments"

    package func fileName(rank: Int) -> String {
      let digits = String(rank)
      return "\(rawValue)-\(String(repeating: "0", count: max(5 - digits.count, 0)))\(digits)"
        + ".safetensors"
    }

    /// Whether a file of a checkpoint holds this kind.
    package func isKind(ofFile name: String) -> Bool { name.hasPrefix("\(rawValue)-") }
  }

  /// A tensor with a unit's own elements.
  package struct Part {
    /// The own elements of a parameter.
    package struct Place {
      package let slot: FlatUnit.Slot
      /// Counted in the unit.
      package let own: Range<Int>
      /// Where they start in the tensor.
      package let offset: Int
    }

    package let unit: FlatUnit
    package let kind: Kind
    package let places: [Place]
    package let elementCount: Int
    private let resting: RestingTensor

    package init(unit: FlatUnit, kind: Kind, tensor: Tensor) {
      self.init(unit: unit, kind: kind, resting: RestingTensor(tensor, swap: nil))
    }

    /// A tensor that lies like the own part.
    package init(unit: FlatUnit, kind: Kind, resting: RestingTensor) {
      self.unit = unit
      self.kind = kind
      self.resting = resting
      elementCount = unit.shardRange.count
      places = unit.slots.map { slot in
        let own = slot.range.clamped(to: unit.shardRange)
        return Place(slot: slot, own: own, offset: own.lowerBound - unit.shardRange.lowerBound)
      }
    }

    /// A tensor with the own elements of `slots` alone, one slot after another.
    package init(unit: FlatUnit, kind: Kind, resting: RestingTensor, packing slots: [FlatUnit.Slot])
    {
      self.unit = unit
      self.kind = kind
      self.resting = resting
      var places: [Place] = []
      var end = 0
      for slot in slots {
        let own = slot.range.clamped(to: unit.shardRange)
        places.append(Place(slot: slot, own: own, offset: end))
        end += own.count
      }
      self.places = places
      elementCount = end
    }

    /// Weights and moments have one dtype: float32, or bfloat16 in a unit without a master.
    package var dataType: SafetensorsDataType {
      unit.weights.dtype == .bfloat16 ? .bfloat16 : .float32
    }

    /// Reads or writes the tensor.
    package func use<Result>(_ body: (Tensor) throws -> Result) rethrows -> Result {
      try resting.use(body)
    }
  }

  /// What this rank writes; ranks of other replicas write nothing, their parts are the same.
  package static func contents(
    _ parts: [Part], mesh: ProcessMesh
  ) -> (files: [RunCheckpointContents.File], pieces: [RunCheckpointManifest.Piece]) {
    guard mesh.replicate.index == 0 else { return ([], []) }
    let kinds = Kind.allCases.filter { kind in parts.contains { $0.kind == kind } }
    let files = kinds.map { kind in
      RunCheckpointContents.File(
        name: kind.fileName(rank: mesh.rank),
        tensors: parts.filter { $0.kind == kind }.map { part in
          CheckpointTensor(
            entry: SafetensorsEntry(
              name: part.unit.name, dataType: part.dataType, shape: [part.elementCount]),
            bytes: part.use { HostBytes($0) })
        })
    }
    return (files, parts.flatMap { pieces($0, rank: mesh.rank) })
  }

  private static func pieces(_ part: Part, rank: Int) -> [RunCheckpointManifest.Piece] {
    let unit = part.unit
    return part.places.compactMap { place in
      let (slot, own) = (place.slot, place.own)
      guard !own.isEmpty else { return nil }
      return RunCheckpointManifest.Piece(
        unit: unit.name, parameter: slot.parameter.name, file: part.kind.fileName(rank: rank),
        tensor: unit.name, offset: place.offset, length: own.count,
        dataType: part.dataType, slice: slot.slice.isWhole ? nil : slot.slice,
        start: own.lowerBound - slot.offset)
    }
  }
}
