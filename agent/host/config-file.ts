/** config.json of the main folder: read at start, and its list of storage folders changed when a person says so. */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type AgentConfig, agentConfig } from '../contract/config.ts'
import { UserError } from '../kit/failure.ts'

/** @throws UserError `config-refused` */
export async function readConfig(dir: string): Promise<AgentConfig> {
  const path = join(dir, 'config.json')
  const refuse = (happened: string): UserError =>
    new UserError({
      code: 'config-refused',
      happened,
      dataIsSafe: 'Nothing was touched.',
      next: `Correct ${path}, or make a new one with "mirrorbay init".`,
    })
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code === 'ENOENT' ? `There is no configuration in ${dir}.` : `${path}: ${error.message}`)
  })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw refuse(`${path} is not valid JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const parsed = agentConfig.safeParse(value)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`)
  throw refuse(`${path} cannot be used: ${problems.slice(0, 3).join('; ')}`)
}

/** Replaces the list of storage folders; everything else in the file stays. @throws UserError `config-not-written` */
export async function writeFolders(dir: string, folders: AgentConfig['folders']): Promise<void> {
  const path = join(dir, 'config.json')
  const draft = `${path}.${randomBytes(4).toString('hex')}`
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    const changed = { ...(typeof value === 'object' ? value : {}), folders }
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(changed, null, 2)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined)
    throw new UserError({
      code: 'config-not-written',
      happened: `${path} could not be changed: ${error instanceof Error ? error.message : String(error)}`,
      dataIsSafe: 'Your data was not touched.',
      next: 'Make sure that the file can be written, then try again.',
    })
  }
}
