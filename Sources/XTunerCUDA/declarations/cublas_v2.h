// The types of cuBLAS, cuSPARSE and cuSOLVER that libtorch's headers name. The plug-in calls none of these libraries
// itself, and their wheels have more than a gigabyte.
#pragma once

typedef struct cublasContext *cublasHandle_t;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct cusparseContext *cusparseHandle_t;
typedef struct cusolverDnContext *cusolverDnHandle_t;
enum cublasStatus_t : int { CUBLAS_STATUS_SUCCESS = 0 };
enum cusparseStatus_t : int { CUSPARSE_STATUS_SUCCESS = 0 };
enum cusolverStatus_t : int { CUSOLVER_STATUS_SUCCESS = 0 };
