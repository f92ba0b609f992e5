import RankThreads
import Torch
import XTunerEngine
import XTunerParallel
import XTunerTrainer

/// The table of docs/schedule.md: how long exchanges are waited for, with and without interleaving.
enum DominoTable {
  static func print() throws {
    Swift.print("| latency of a collective | one after another | interleaved |")
    Swift.print("| ---: | ---: | ---: |")
    for milliseconds in [0, 2, 5, 10, 20] {
      var cells: [String] = []
      for interleave in [1, 2] {
        let waits = try runMesh(DominoTrial.layout) { mesh in
          mesh.expert.simulatedLatency = .milliseconds(milliseconds)
          return try (0..<6).map { _ in
            try DominoTrial.step(mesh, interleave: interleave).communicationSeconds
          }.sorted()[2]
        }
        cells.append("\(Int((waits.max() ?? 0) * 1000)) ms")
      }
      Swift.print("| \(milliseconds) ms | \(cells.joined(separator: " | ")) |")
    }
  }
}
