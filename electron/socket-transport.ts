/** HTTP over the agent's Unix socket. Whatever goes wrong is thrown as it is: for the window it is "no answer". */
import { request as httpRequest } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Transport } from '../agent/contract/client.ts'

export const socketTransport =
  (socketPath: string): Transport =>
  (path, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
      const options = { socketPath, path, method, agent: false, headers: { Host: 'localhost', ...headers, ...length } }
      const request = httpRequest(signal === undefined ? options : { ...options, signal }, (response) => {
        resolve({ status: response.statusCode ?? 0, text: () => text(response), body: response })
      })
      request.once('error', reject)
      request.end(body)
    })
