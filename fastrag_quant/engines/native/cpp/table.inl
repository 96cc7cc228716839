// The rows of the table that every level fills in the same way.
#define FQ_TABLE(NAME)                                                                                          \
  {NAME,     (int)sizeof(Quantized), (int)sizeof(Stored), sizeof(Weight), pack,         embed,                 \
   normalize, quantize,              project,             attend,         attend_scratch, add_product,         \
   gelu_product, quantize_stored}
