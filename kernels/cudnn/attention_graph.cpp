#include "kernels/cudnn/attention_graph.hpp"

#include <bit>
#include <limits>
#include <utility>

namespace longrope::kernels::cuda {

namespace {

constexpr const char* kWhere = "attention";

using Extents = std::array<std::int64_t, 4>;  // batch, heads, sequence, head_dim

Extents packed(const Extents& extents) {
  return {extents[1] * extents[2] * extents[3], extents[2] * extents[3], extents[3], 1};
}

// Index of a tensor among the graph's descriptors, with what later operations need to know of it.
struct Tensor {
  std::size_t index = 0;
  Extents extents{};
};

class Builder {
 public:
  Builder(const CudnnApi& api, const CudnnAttentionShape& shape) : api_(api), shape_(shape) {
    next_uid_ = kUidFirstScalar;
  }

  Tensor stored(std::int64_t uid, const Extents& extents, const Extents& strides) {
    return tensor(uid, extents, strides, CUDNN_DATA_BFLOAT16, Kind::kStored);
  }

  Tensor scalar(float value) { return by_value(CUDNN_DATA_FLOAT, std::bit_cast<std::array<unsigned char, 4>>(value)); }
  Tensor scalar(std::int32_t value) {
    return by_value(CUDNN_DATA_INT32, std::bit_cast<std::array<unsigned char, 4>>(value));
  }

  Tensor between(const Extents& extents, cudnnDataType_t type) {
    internal_uids_.push_back(next_uid_);
    return tensor(next_uid_++, extents, packed(extents), type, Kind::kVirtual);
  }

  void matmul(const Tensor& a, const Tensor& b, const Tensor& c) {
    CudnnDescriptor matmul(api_, CUDNN_BACKEND_MATMUL_DESCRIPTOR, kWhere);
    matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    matmul.finalize();
    CudnnDescriptor operation(api_, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, kWhere);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, matmul);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, at(a));
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, at(b));
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, at(c));
    add_operation(std::move(matmul), std::move(operation));
  }

  // y = mode(x), mode(x, b), t ? x : b, or the index along `axis` of each of x's elements.
  Tensor pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t computed_in, cudnnDataType_t type, const Tensor& x,
                   const Tensor* b = nullptr, const Tensor* t = nullptr, std::int64_t axis = -1) {
    const Tensor y = between(x.extents, type);
    CudnnDescriptor descriptor(api_, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, kWhere);
    descriptor.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    descriptor.set(CUDNN_ATTR_POINTWISE_MATH_PREC, computed_in);
    if (axis >= 0) descriptor.set(CUDNN_ATTR_POINTWISE_AXIS, std::array{axis});
    descriptor.finalize();
    CudnnDescriptor operation(api_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, kWhere);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, descriptor);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(*b));
    if (t != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, at(*t));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
    add_operation(std::move(descriptor), std::move(operation));
    return y;
  }

  Tensor reduce_keys(cudnnReduceTensorOp_t mode, const Tensor& x) {
    const Tensor y = between({x.extents[0], x.extents[1], x.extents[2], 1}, CUDNN_DATA_FLOAT);
    CudnnDescriptor descriptor(api_, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, kWhere);
    descriptor.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
    descriptor.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    descriptor.finalize();
    CudnnDescriptor operation(api_, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, kWhere);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, descriptor);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, at(x));
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, at(y));
    add_operation(std::move(descriptor), std::move(operation));
    return y;
  }

  // s where key <= position, -inf elsewhere; position = row + keys - rows. Written this way, not as row >= column, when
  // keys equals rows too: cuDNN 9.19 refuses the shorter form.
  Tensor mask_future(const Tensor& scores) {
    Tensor row = index_along(2, scores);
    const Tensor column = index_along(3, scores);
    const Tensor keys = scalar(static_cast<std::int32_t>(shape_.keys));
    const Tensor rows = scalar(static_cast<std::int32_t>(shape_.rows));
    row = pointwise(CUDNN_POINTWISE_ADD, CUDNN_DATA_INT32, CUDNN_DATA_INT32, row, &keys);
    row = pointwise(CUDNN_POINTWISE_SUB, CUDNN_DATA_INT32, CUDNN_DATA_INT32, row, &rows);
    const Tensor seen = pointwise(CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, CUDNN_DATA_BOOLEAN, row, &column);
    return select(scores, seen);
  }

  // s where key + window > position, -inf elsewhere. cuDNN's pattern compares in float32 here: exact below 2^24.
  Tensor mask_past(const Tensor& scores) {
    const Tensor row = index_along(2, scores);
    Tensor column = index_along(3, scores);
    const Tensor shift = scalar(static_cast<float>(shape_.sliding_window - shape_.keys + shape_.rows));
    column = pointwise(CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, column, &shift);
    const Tensor seen = pointwise(CUDNN_POINTWISE_CMP_GT, CUDNN_DATA_BOOLEAN, CUDNN_DATA_BOOLEAN, column, &row);
    return select(scores, seen);
  }

  CudnnAttentionGraph finish(const CudnnTarget& target) {
    CudnnDescriptor graph(api_, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, kWhere);
    std::vector<cudnnBackendDescriptor_t> operations;
    for (const std::size_t index : operations_) operations.push_back(descriptors_[index].get());
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              static_cast<std::int64_t>(operations.size()), operations.data());
    if (target.handle != nullptr) {
      graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
    }
    graph.finalize();
    descriptors_.push_back(std::move(graph));
    return {.descriptors = std::move(descriptors_),
            .scalars = std::move(scalars_),
            .internal_uids = std::move(internal_uids_)};
  }

 private:
  enum class Kind { kStored, kVirtual, kByValue };

  const CudnnDescriptor& at(const Tensor& tensor) const { return descriptors_[tensor.index]; }

  Tensor tensor(std::int64_t uid, const Extents& extents, const Extents& strides, cudnnDataType_t type, Kind kind) {
    CudnnDescriptor descriptor(api_, CUDNN_BACKEND_TENSOR_DESCRIPTOR, kWhere);
    descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::array{uid});
    descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
    descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
    descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::array{std::int64_t{16}});
    descriptor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, kind == Kind::kVirtual);
    descriptor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, kind == Kind::kByValue);
    descriptor.finalize();
    descriptors_.push_back(std::move(descriptor));
    return {.index = descriptors_.size() - 1, .extents = extents};
  }

  Tensor by_value(cudnnDataType_t type, std::array<unsigned char, 4> bytes) {
    scalars_.push_back({.uid = next_uid_, .bytes = bytes});
    return tensor(next_uid_++, {1, 1, 1, 1}, {1, 1, 1, 1}, type, Kind::kByValue);
  }

  Tensor index_along(std::int64_t axis, const Tensor& scores) {
    return pointwise(CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, CUDNN_DATA_INT32, scores, nullptr, nullptr, axis);
  }

  Tensor select(const Tensor& scores, const Tensor& seen) {
    // Before 9.10 the engines' masks expect the lowest finite value in place of -inf (as cudnn-frontend has it).
    const bool old = api_.version() < 91000;
    const Tensor unseen = scalar(old ? std::numeric_limits<float>::lowest() : -std::numeric_limits<float>::infinity());
    return pointwise(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, scores, &unseen, &seen);
  }

  void add_operation(CudnnDescriptor&& descriptor, CudnnDescriptor&& operation) {
    operation.finalize();
    descriptors_.push_back(std::move(descriptor));
    descriptors_.push_back(std::move(operation));
    operations_.push_back(descriptors_.size() - 1);
  }

  const CudnnApi& api_;
  const CudnnAttentionShape& shape_;
  std::int64_t next_uid_ = 0;
  std::vector<CudnnDescriptor> descriptors_;
  std::vector<std::size_t> operations_;
  std::vector<CudnnScalar> scalars_;
  std::vector<std::int64_t> internal_uids_;
};

}  // namespace

CudnnAttentionGraph build_cudnn_attention_graph(const CudnnApi& api, const CudnnTarget& target,
                                                const CudnnAttentionShape& shape) {
  const auto [heads, kv_heads, head_dim, rows, keys, window] = shape;
  const std::int64_t token = heads * head_dim;        // elements from one row of q to the next
  const std::int64_t kv_token = kv_heads * head_dim;  // the same in k and v
  Builder graph(api, shape);
  const Tensor q = graph.stored(kUidQ, {1, heads, rows, head_dim}, {rows * token, head_dim, token, 1});
  const Tensor k = graph.stored(kUidK, {1, kv_heads, head_dim, keys}, {keys * kv_token, head_dim, 1, kv_token});
  const Tensor v = graph.stored(kUidV, {1, kv_heads, keys, head_dim}, {keys * kv_token, head_dim, kv_token, 1});
  const Tensor out = graph.stored(kUidOut, {1, heads, rows, head_dim}, {rows * token, head_dim, token, 1});

  Tensor scores = graph.between({1, heads, rows, keys}, CUDNN_DATA_FLOAT);
  graph.matmul(q, k, scores);
  // One row stands at the last position and sees every key. cuDNN 9.18 warns of wrong results with a causal mask there
  // (release notes, known issues).
  if (rows > 1) scores = graph.mask_future(scores);
  if (window > 0) scores = graph.mask_past(scores);

  const Tensor maximum = graph.reduce_keys(CUDNN_REDUCE_TENSOR_MAX, scores);
  const Tensor centred = graph.pointwise(CUDNN_POINTWISE_SUB, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, scores, &maximum);
  const Tensor weight = graph.pointwise(CUDNN_POINTWISE_EXP, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, centred);
  const Tensor sum = graph.reduce_keys(CUDNN_REDUCE_TENSOR_ADD, weight);
  // The rows' log-sum-exp. Nobody reads it, but the engines' pattern has it: where it is missing they take the maximum
  // and the sum for outputs, which have no memory here.
  const Tensor log_sum = graph.pointwise(CUDNN_POINTWISE_LOG, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, sum);
  graph.pointwise(CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, maximum, &log_sum);
  const Tensor p = graph.pointwise(CUDNN_POINTWISE_DIV, CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16, weight, &sum);
  graph.matmul(p, v, out);
  return graph.finish(target);
}

}  // namespace longrope::kernels::cuda
