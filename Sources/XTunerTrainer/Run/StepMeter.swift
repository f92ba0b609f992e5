import Torch
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun

/// Makes a step's report out of what was measured on all ranks.
final class StepMeter {
  private let place: RunPlace
  private let facts: ModelFacts
  private let dtype: DType
  /// FLOP/s of all ranks at best.
  private var peakRate: PeakRate
  /// The most bytes of tensors before the rate was measured again, which takes some of its own.
  private var earlierTensorPeak = 0

  /// Measures what the ranks can do at best.
  init(_ place: RunPlace, _ facts: ModelFacts) throws {
    self.place = place
    self.facts = facts
    let dtype = DType(place.configuration.model.dtype)
    self.dtype = dtype
    let dataSheetRate = Throughput.dataSheetRate(dtype: dtype, device: place.device)
    peakRate = PeakRate(
      try place.ranks.sum(Throughput.peak(dtype: dtype, device: place.device)),
      isMeasured: try place.ranks.sum(dataSheetRate == nil ? 1 : 0) > 0)
  }

  /// What a step reports, over all ranks.
  func metrics(
    step: Int, _ measured: StepMeasurement, _ prediction: StepPrediction?, norm: Double,
    rate: Double, seconds: Double, dataSeconds: Double, isSkipped: Bool
  ) throws -> StepMetrics {
    let (configuration, device) = (place.configuration, place.device)
    let computing =
      measured.forwardSeconds + measured.backwardSeconds - measured.communicationSeconds
    let ranks = try place.ranks.mesh.world.gatherValues(
      [
        seconds, computing, measured.communicationSeconds,
        Double(Throughput.peakMemoryBytes() ?? 0),
        Double(max(DeviceMemory.peakByteCount(on: device), earlierTensorPeak)),
        Double(DeviceMemory.liveByteCount(on: device)),
      ], label: "rank metrics")
    func mean(_ index: Int) -> Double {
      ranks.reduce(0) { $0 + $1[index] } / Double(ranks.count)
    }
    func largest(_ index: Int) -> Double { ranks.map { $0[index] }.max() ?? 0 }
    let isAlone = ranks.count == 1
    let tokens = Double(measured.tokenCount)
    let operations =
      tokens
      * facts.trainingOperationsPerToken(
        effectiveLength: measured.squaredLengthSum / max(tokens, 1))
    let hasExperts = !measured.expertCounts.isEmpty
    // With the seconds of rank 0, so that all ranks measure again or none does.
    let utilization = try peakRate.utilization(
      operationCount: operations, seconds: ranks[0][0]
    ) {
      earlierTensorPeak = max(earlierTensorPeak, DeviceMemory.peakByteCount(on: device))
      defer { DeviceMemory.resetPeak(on: device) }
      return try place.ranks.sum(Throughput.peak(dtype: dtype, device: device))
    }
    return StepMetrics(
      step: step, loss: measured.loss, gradientNorm: norm, learningRate: rate,
      tokens: measured.tokenCount, lossTokens: measured.lossTokenCount,
      tokensPerSecond: tokens / seconds, stepSeconds: seconds,
      modelFlopsUtilization: utilization,
      memoryPeakBytes: Int(largest(3)), tensorPeakBytes: Int(largest(4)),
      tensorLiveBytes: Int(largest(5)),
      dataSeconds: dataSeconds,
      communicationSeconds: isAlone ? nil : mean(2),
      predictedImbalance: isAlone ? nil : prediction?.spread,
      measuredImbalance: isAlone ? nil : largest(1) / max(mean(1), 1e-9),
      maxViolation: measured.maximumViolation,
      balanceLoss: hasExperts ? measured.balanceLoss : nil,
      routerZLoss: configuration.loss.routerZLoss > 0 ? measured.routerZLoss : nil,
      zLoss: configuration.loss.zLoss > 0 ? measured.zLoss : nil, isSkipped: isSkipped)
  }
}
