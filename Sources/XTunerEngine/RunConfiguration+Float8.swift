public import Torch
public import XTunerConfiguration
package import XTunerModels
public import XTunerNN

extension RunConfiguration {
  /// The layers whose matrices are multiplied as float8; none unless `model.fp8` asks for it.
  public var float8Modules: Set<Float8Module> {
    model.float8 == .none
      ? [] : Set(model.float8Modules?.map(Float8Module.init) ?? Float8Module.standard)
  }

  /// Who multiplies them.
  public var float8Products: Float8Products { model.float8 == .native ? .native : .emulated }

  /// What a run's first line says of float8 after the compute type.
  package var float8Description: String {
    guard model.float8 != .none else { return "" }
    let names = Float8Module.allCases.filter(float8Modules.contains).map(\.rawValue)
    return ", \(model.float8.rawValue) fp8 in \(names.joined(separator: ", "))"
  }

  /// Rejects modules that the model does not have, and matrices that no device multiplies as float8.
  ///
  /// Rows of operands are whole multiples of 16 bytes, which the products of GPUs ask for, so a
  /// matrix needs multiples of 16 in both dims; tiles and blocks of 128 may be partial.
  package func checkFloat8(_ configuration: ModelConfiguration) throws(ConfigurationError) {
    guard model.float8 != .none else { return }
    let built = configuration.makeModel()
    for module in Float8Module.allCases where float8Modules.contains(module) {
      let matrices = built.matrices(of: module)
      guard !matrices.isEmpty || model.float8Modules == nil else {
        let there = Float8Module.allCases.filter { !built.matrices(of: $0).isEmpty }
        throw error(
          at: "model.fp8_modules",
          """
          \(module.rawValue): the model has no such layer; it has \
          \(there.map(\.rawValue).joined(separator: ", "))
          """)
      }
      for matrix in matrices {
        var sizes = Array(matrix.shape.suffix(2))
        if matrix.role == .expert, let split = matrix.tensorSplit {
          sizes[split.dim - matrix.shape.count + 2] /= parallel.expertTensor
        }
        guard sizes.allSatisfy({ $0.isMultiple(of: 16) }) else {
          throw error(
            at: "model.fp8",
            """
            \(matrix.name) is \(sizes[0]) x \(sizes[1]), and float8 products need multiples of 16; \
            leave \(module.rawValue) out of model.fp8_modules, or change the model's sizes
            """)
        }
      }
    }
  }
}

extension Float8Module {
  /// The layers that an option names.
  init(_ layer: ModelOptions.Float8Layer) {
    switch layer {
    case .attention: self = .attention
    case .feedForward: self = .feedForward
    case .experts: self = .experts
    case .sharedExpert: self = .sharedExpert
    case .head: self = .head
    }
  }
}
