/**
 * The first import of the agent: sizes the process-wide pool of file threads before anything uses it (libuv reads the
 * variable at the pool's first use).
 */
import { limits } from './limits.ts'

process.env.UV_THREADPOOL_SIZE ??= String(limits.threadPool)
