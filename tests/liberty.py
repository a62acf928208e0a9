"""A liberty file of three cells, enough for combinational hardware."""

LIBERTY = """library (small) {
  cell (INV) {
    area : 0.5;
    pin (A) { direction : input; }
    pin (Y) { direction : output; function : "!A"; }
  }
  cell (BUF) {
    area : 0.9;
    pin (A) { direction : input; }
    pin (Y) { direction : output; function : "A"; }
  }
  cell (NAND) {
    area : 0.8;
    pin (A) { direction : input; }
    pin (B) { direction : input; }
    pin (Y) { direction : output; function : "!(A&B)"; }
  }
}
"""
