/* gil.c: a notification handler that takes the GIL and calls Python, as bindings do that have no native side of their own.
 *
 * SPDX-License-Identifier: MIT
 */
#include <Python.h>

#include "bench.h"

static PyObject *callable; /* kept alive by the benchmark */

void bench_set_callable(void *object) { callable = object; }

uint32_t bench_on_gil(uintptr_t id, uint32_t subentry, void *connection, uint32_t message, uint32_t state, uint32_t error,
                      uint32_t extended_error)
{
    PyGILState_STATE held = PyGILState_Ensure();
    uint32_t answer = 0;
    PyObject *result = PyObject_CallFunction(callable, "KIKIIII", (unsigned long long)id, (unsigned)subentry,
                                             (unsigned long long)(uintptr_t)connection, (unsigned)message, (unsigned)state,
                                             (unsigned)error, (unsigned)extended_error);
    if (result != NULL) {
        answer = (uint32_t)PyLong_AsLong(result);
        Py_DECREF(result);
    } else {
        PyErr_WriteUnraisable(callable);
    }
    PyGILState_Release(held);
    return answer;
}
