import Torch
import XTunerNN

extension FlatUnit {
  /// Draws first weights: a function of the seed and the parameter's name alone.
  ///
  /// They do not depend on the order, the number of ranks or the compute dtype. Experts are drawn
  /// one by one.
  public func initialize(seed: UInt64) {
    withoutGradients {
      for slot in slots {
        let parameter = slot.parameter
        let target = writableView(of: parameter)
        switch parameter.initializer {
        case .zeros: target.zero()
        case .ones: target.fill(1)
        case .normal(let deviation):
          let isExpert = parameter.role == .expert
          for index in 0..<(isExpert ? parameter.shape[0] : 1) {
            let name = isExpert ? "\(parameter.name).\(index)" : parameter.name
            let generator = Generator(seed: Self.seed(seed, name: name))
            let shape = isExpert ? Array(parameter.shape.dropFirst()) : parameter.shape
            let numbers = Tensor.empty(shape, dtype: .float32)
            numbers.fillNormal(mean: 0, standardDeviation: deviation, generator: generator)
            (isExpert ? target.selected(dim: 0, index: index) : target).copy(from: numbers)
          }
        }
      }
      publish()
    }
  }

  /// FNV-1a over the name, mixed with the run's seed by SplitMix64's finaliser.
  static func seed(_ seed: UInt64, name: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    var mixed = hash &+ seed &* 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
