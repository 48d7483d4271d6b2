/**
 * Colours and type of the window. Contrasts hold WCAG AA in light and dark (checked by axe in test/ui): shade 7 under
 * white text, dimmed text darker than Mantine's own.
 */
import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core'

const bay: MantineColorsTuple = [
  '#e9f6f8',
  '#d3eaee',
  '#a6d5dd',
  '#75bfcb',
  '#4dacbc',
  '#339fb2',
  '#1f8a9d',
  '#0b6e7f',
  '#075e6d',
  '#034c59',
]

/** What cannot be taken back: --stop-ink of window.css and its neighbours. */
const stop: MantineColorsTuple = [
  '#fdeae8',
  '#fad3cf',
  '#f5a69f',
  '#ef766b',
  '#e9513f',
  '#d93a2b',
  '#c72c1f',
  '#b42318',
  '#961c13',
  '#7a150e',
]

export const theme = createTheme({
  primaryColor: 'bay',
  primaryShade: { light: 7, dark: 7 },
  colors: { bay, stop },
  autoContrast: true,
  respectReducedMotion: true,
  fontFamily: "'Inter', system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', monospace",
  defaultRadius: 'md',
  cursorType: 'pointer',
  headings: { fontWeight: '650' },
})

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#525a66',
    '--mantine-color-placeholder': '#6a727d',
    '--mantine-color-body': '#f5f7f8',
    // The edge of a field or button is how it is found: 3:1 against what is behind it (WCAG 1.4.11).
    '--mantine-color-default-border': '#868e98',
    '--mantine-color-error': '#b42318',
    '--mantine-color-anchor': '#075e6d',
  },
  dark: {
    '--mantine-color-dimmed': '#a9b2bd',
    '--mantine-color-placeholder': '#8d96a1',
    '--mantine-color-body': '#111518',
    '--mantine-color-default-border': '#6f7a86',
    '--mantine-color-error': '#ff9a8f',
    '--mantine-color-anchor': '#75bfcb',
  },
})
