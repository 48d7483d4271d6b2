/**
 * Checks what no compiler reads: every module tells its story, links lead somewhere, the table of test entries is the
 * one in the code, and nothing names the machine on which it was written. Part `docs` of `npm run check`.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { entriesTable } from '../test/run/entries.ts'
import { filesBelow } from './source.ts'

/** A README is at most a page. */
const readmeLines = 90

const code = /\.(ts|tsx|mjs|css|html)$/

/** Each is read by somebody else than the file's author, so each is checked by itself. @returns problems, one a line */
type Check = (root: string, files: readonly string[]) => string[]

const read = (root: string, file: string) => readFileSync(join(root, file), 'utf8')

function moduleFolders(root: string): string[] {
  const below = (folder: string) =>
    existsSync(join(root, folder))
      ? readdirSync(join(root, folder), { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => `${folder}/${entry.name}`)
      : []
  const agent = below('agent').filter((folder) => folder !== 'agent/frontends' && folder !== 'agent/decisions')
  return [...agent, ...below('agent/frontends'), 'electron', 'renderer', 'build', 'test']
}

export const modulesHaveReadmes: Check = (root) =>
  moduleFolders(root)
    .filter((folder) => filesBelow(root, folder, code).length > 0)
    .flatMap((folder) => {
      const file = `${folder}/README.md`
      if (!existsSync(join(root, file)))
        return [`${file} is missing: the danger, the promises, who calls, where to change`]
      const lines = read(root, file).split('\n').length - 1
      return lines > readmeLines ? [`${file} has ${lines} lines, more than a page (${readmeLines})`] : []
    })

/** The anchors that a Markdown page offers, made from its headings as the usual viewers do. */
function anchorsOf(text: string): Set<string> {
  const headings = withoutCode(text).matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)
  return new Set(Array.from(headings, ([, heading = '']) => anchorOf(heading)))
}
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-')

const withoutCode = (text: string) => text.replace(/^(```|~~~)[\s\S]*?^\1/gm, '')

export const linksResolve: Check = (root, files) =>
  files
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) => {
      const text = withoutCode(read(root, file)).replace(/`[^`\n]*`/g, '')
      return Array.from(text.matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g), ([, target = '']) => target)
        .filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
        .flatMap((target) => {
          const problem = linkProblem(root, file, target)
          return problem === null ? [] : [`${file}: the link ${target} ${problem}`]
        })
    })

function linkProblem(root: string, from: string, target: string): string | null {
  const [path = '', anchor] = target.split('#')
  const file = path === '' ? from : posix.join(dirname(from), decodeURIComponent(path))
  if (!existsSync(join(root, file))) return 'leads nowhere'
  if (anchor === undefined || !file.endsWith('.md') || statSync(join(root, file)).isDirectory()) return null
  return anchorsOf(read(root, file)).has(anchor) ? null : 'names a heading that is not there'
}

/** Spaces that only line columns up say nothing. */
const tidyRow = (row: string) =>
  row
    .split('|')
    .map((cell) => cell.trim().replace(/^-{3,}$/, '---'))
    .join('|')

export const entriesAreShown: Check = (root) => {
  if (!existsSync(join(root, 'ARCHITECTURE.md'))) return ['ARCHITECTURE.md is missing']
  const expected = entriesTable().split('\n')
  const shown = read(root, 'ARCHITECTURE.md').split('\n').map(tidyRow)
  const start = shown.indexOf(tidyRow(expected[0] ?? ''))
  const equal = start >= 0 && expected.every((row, index) => shown[start + index] === tidyRow(row))
  const ends = !shown[start + expected.length]?.startsWith('|')
  return equal && ends
    ? []
    : [`ARCHITECTURE.md does not show the test entries as in test/run/entries.ts:\n${entriesTable()}`]
}

/** Written in pieces, so that this file is not its own finding. */
const machineMarks: readonly [pattern: RegExp, what: string][] = [
  [new RegExp(`(?<![\\w.-])/${'work'}/`), 'a path of the machine it was written on'],
  [new RegExp(`(?<![\\w.-])/(${'root'}|${'home'}/[a-z]+)/`), 'a path of the machine it was written on'],
  [new RegExp(`${'registry'}\\.[a-z0-9-]+\\.[a-z]+|arti${'factory'}|verd${'accio'}`, 'i'), 'a package registry'],
  [new RegExp(`"${'resolved'}": "http`), 'the address a package came from'],
]

export const nothingNamesTheMachine: Check = (root, files) =>
  files
    .filter((file) => !/\.(png|jpg|ico|icns|woff2?|ttf|gz|bin)$/.test(file) && existsSync(join(root, file)))
    .flatMap((file) =>
      read(root, file)
        .split('\n')
        .flatMap((line, index) =>
          machineMarks
            .filter(([pattern]) => pattern.test(line))
            .map(([, what]) => `${file}:${index + 1}: names ${what}: ${line.trim().slice(0, 100)}`),
        ),
    )

export const checks: readonly Check[] = [modulesHaveReadmes, linksResolve, entriesAreShown, nothingNamesTheMachine]

if (import.meta.main) {
  const root = join(import.meta.dirname, '..')
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean)
  const problems = checks.flatMap((check) => check(root, files))
  for (const problem of problems) console.log(problem)
  console.log(`docs: ${files.length} files read, ${problems.length} problems`)
  process.exitCode = files.length === 0 || problems.length > 0 ? 1 : 0
}
